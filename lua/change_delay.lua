--[[ change_delay: change when a delayed job is due.

KEYS    1 base      "<prefix>:<queue>:"
ARGV    1 id        the job
        2 delay     ms from now
        3 now       ms, the caller's clock
RETURN  OK, MISSING_JOB or NOT_IN_STATE
EVENTS  delayed {jobId, delay}
USES    codes, queue, settings, wake, delay
COST    nine commands
]]
local id, job = ARGV[1], base .. ARGV[1]
if call("HLEN", job) == 0 then return MISSING_JOB end
if not call("ZSCORE", DELAYED, id) then return NOT_IN_STATE end
local due = due_time(tonumber(ARGV[3]), tonumber(ARGV[2]))
call("HSET", job, "delay", ARGV[2])
keep_cap()
put_delayed(id, due)
return OK
