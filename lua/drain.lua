--[[ drain: remove the waiting jobs, except the next runs of job schedulers.

KEYS    1 base      "<prefix>:<queue>:"
ARGV    1 kept      how many jobs at the beginning of the first list or set earlier calls have kept
        2…          the lists and sorted sets to empty: "wait", "paused", "delayed", "prioritized"
RETURN  {done, kept, removed}: how many lists and sets are done, and `kept` for the next one; call again for the rest
EVENTS  none; a parent in another queue is released without an event
USES    queue, settings, wake, number, prioritize, delay, ready, homes, states, check_queue, job_key, release, delete,
        erase, cut
COST    looks at no more than 200 jobs; ten commands for each
]]
local kept, left, removed, work, done = tonumber(ARGV[1]), 200, 0, {}, 0
check_queue(base)
for i = 2, #ARGV do
  local key, is_list = base .. ARGV[i], IS_LIST[ARGV[i]]
  local ids = call(is_list and "LRANGE" or "ZRANGE", key, digits(kept), digits(kept + left - 1))
  local leaving = { key = key, is_list = is_list, ids = {}, held = {}, positions = {} }
  for n, id in ipairs(ids) do
    if not is_pending_run(id) then
      local n_leaving = #leaving.ids + 1
      leaving.ids[n_leaving], leaving.held[n_leaving], leaving.positions[n_leaving] = id, look_up(id), kept + n - 1
    end
  end
  leaving.depth = kept + #ids
  work[#work + 1] = leaving
  removed = removed + #leaving.ids
  if #ids >= left then
    kept = kept + #ids - #leaving.ids
    break
  end
  left = left - #ids
  done, kept = done + 1, 0
end

for _, leaving in ipairs(work) do
  if #leaving.ids > 0 then
    for n, id in ipairs(leaving.ids) do erase(id, leaving.held[n]) end
    if leaving.is_list then
      cut(leaving.key, false, leaving.depth, leaving.positions)
    else
      call("ZREM", leaving.key, unpack(leaving.ids))
    end
  end
end
delete_erased()
return { done, kept, removed }
