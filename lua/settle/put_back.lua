-- Puts back ids that were popped and no longer fit into the reply; the first of them is the next to run again.
local function put_back(ids, from, scores)
  local back = {}
  if scores then
    for i = from, #ids do back[#back + 1], back[#back + 2] = scores[i], ids[i] end
    call("ZADD", PRIORITIZED, unpack(back))
  else
    for i = #ids, from, -1 do back[#back + 1] = ids[i] end
    call("RPUSH", WAIT, unpack(back))
  end
end

-- Puts all popped ids back: the first `count`, which were started and are not `active` yet, and those from `at` on. Ends the
-- script with the problem, which may be that the user lacks a command. Another worker's may have it.
local function undo(problem, ids, scores, count, at)
  local all, locks, ranks = {}, {}, scores and {}
  for i = 1, #ids do
    if i <= count or i >= at then
      all[#all + 1], locks[#locks + 1] = ids[i], base .. ids[i] .. ":lock"
      if scores then ranks[#all] = scores[i] end
    end
  end
  put_back(all, 1, ranks)
  call("DEL", unpack(locks))
  wake(true)
  error(problem, 0)
end
