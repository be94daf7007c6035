--[[ change_priority: change the priority of a job, and its place among those that wait.

KEYS    1 base      "<prefix>:<queue>:"
ARGV    1 id        the job
        2 priority  0 for none
        3 lifo      "1" puts the job before the others of its priority
RETURN  OK or MISSING_JOB
EVENTS  none
USES    codes, queue, settings, wake, number, prioritize, ready
COST    six commands; one pass over `wait` for a job without priority
]]
local id, priority, first = ARGV[1], tonumber(ARGV[2]), ARGV[3] == "1"
if call("HLEN", base .. id) == 0 then return MISSING_JOB end
if call("ZREM", PRIORITIZED, id) == 1 or call("LREM", WAIT, "-1", id) == 1 then
  if first then
    put_first(id, priority)
  else
    put_ready(id, priority)
  end
end
call("HSET", base .. id, "priority", ARGV[2])
return OK
