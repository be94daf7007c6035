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
