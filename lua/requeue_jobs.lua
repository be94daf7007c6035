--[[ requeue_jobs: make many finished or delayed jobs ready, in the order in which they finished or are due.

KEYS    1 base      "<prefix>:<queue>:"
ARGV    1 state     "failed", "completed" or "delayed"
        2 until     highest score of a job to move; "+inf" for all
        3 count     how many at most, up to 200
        4 order     "1" places each job by its priority; else all go to `wait`, as in BullMQ
        5 now       ms, the caller's clock
RETURN  {looked at, moved}; looked at is below `count` when there are no more
EVENTS  waiting {jobId, prev}
USES    queue, settings, wake, number, announce, prioritize, ready, restore
COST    per job: HMGET, HDEL, XADD and its share of ZREM and LPUSH; one INCR where it is placed by its priority
]]
local state, source = ARGV[1], base .. ARGV[1]
local STALE = { failed = "failedReason", completed = "returnvalue" }
local ids = call("ZRANGEBYSCORE", source, "-inf", ARGV[2], "LIMIT", "0", ARGV[3])
if #ids == 0 then return { 0, 0 } end
local by_priority = ARGV[4] == "1"
local moved, parents, opts, waiting, prioritized = {}, {}, {}, {}, {}
for _, id in ipairs(ids) do
  local held = redis.pcall("HMGET", base .. id, "name", "data", "parentKey", "priority", "opts")
  -- An id without a job is only removed from the set, as no worker could run it.
  if held[1] or held[2] then
    moved[#moved + 1] = id
    -- The records of a parent with a key of a wrong type are not changed.
    parents[#moved] = pcall(check_records, held[3]) and held[3]
    opts[#moved] = held[5]
    local priority = by_priority and number_of(held[4]) or 0
    if priority == 0 then
      waiting[#waiting + 1] = id
    else
      prioritized[#prioritized + 1], prioritized[#prioritized + 2] = digits(priority_score(priority)), id
    end
  end
end
call("ZREM", source, unpack(ids))
if #moved == 0 then return { #ids, 0 } end
if #waiting > 0 then call("LPUSH", WAIT, unpack(waiting)) end
if #prioritized > 0 then call("ZADD", PRIORITIZED, unpack(prioritized)) end
for i, id in ipairs(moved) do
  if STALE[state] then
    call("HDEL", base .. id, "finishedOn", "processedOn", STALE[state])
    restore_child(base .. id, parents[i], state)
  end
  note_ready(id, opts[i], ARGV[5])
  announce("waiting", id, "prev", state)
end
wake()
return { #ids, #moved }
