--[[ remove_scheduler: remove a job scheduler, and its next run if that is delayed.

KEYS    1 base       "<prefix>:<queue>:"
ARGV    1 scheduler  its id
RETURN  1 if there was one, else 0
EVENTS  removed {jobId, prev}
USES    queue, settings, homes, states, check_queue, delete
COST    eight commands
]]
local scheduler = ARGV[1]
check_queue(base)
local slot = call("ZSCORE", base .. "repeat", scheduler)
if not slot then return 0 end
local id = "repeat:" .. scheduler .. ":" .. slot
call("HLEN", base .. id)
-- A run that is ready or active still runs, and creates no next one.
if call("ZREM", DELAYED, id) == 1 then
  delete_jobs({ base .. id })
  call("XADD", EVENTS, "*", "event", "removed", "jobId", id, "prev", "delayed")
end
call("ZREM", base .. "repeat", scheduler)
call("DEL", base .. "repeat:" .. scheduler)
return 1
