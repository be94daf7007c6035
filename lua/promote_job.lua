--[[ promote_job: make a delayed job ready now.

KEYS    1 base      "<prefix>:<queue>:"
ARGV    1 id        the job
        2 now       ms, the caller's clock
RETURN  OK or NOT_IN_STATE
EVENTS  waiting {jobId, prev}
USES    codes, queue, settings, wake, number, prioritize, ready
COST    six commands
]]
local id, job = ARGV[1], base .. ARGV[1]
local held = call("HMGET", job, "priority", "opts")
if call("ZREM", DELAYED, id) == 0 then return NOT_IN_STATE end
put_ready(id, number_of(held[1]))
call("XADD", EVENTS, "*", "event", "waiting", "jobId", id, "prev", "delayed")
-- Without a hash it stays so: HSET would create one that is no job.
if call("EXISTS", job) == 1 then call("HSET", job, "delay", "0") end
note_ready(id, held[2], ARGV[2])
return OK
