--[[ retry_job: make a finished job ready again.

KEYS    1 base      "<prefix>:<queue>:"
ARGV    1 id        the job
        2 state     where it is: "failed" or "completed"
        3 made      "1" resets the attempts made
        4 started   "1" resets the attempts started
        5 now       ms, the caller's clock
RETURN  OK, MISSING_JOB or NOT_IN_STATE
EVENTS  waiting {jobId, prev}
USES    codes, queue, settings, wake, number, announce, prioritize, ready, restore, is_job
COST    about ten commands
]]
local id, state = ARGV[1], ARGV[2]
local job, finished = base .. id, base .. state
local held = call("HMGET", job, "priority", "opts", "parentKey")
if not is_job(job) then return MISSING_JOB end
check_records(held[3])
if call("ZREM", finished, id) == 0 then return NOT_IN_STATE end
local stale = { "finishedOn", "processedOn", state == "failed" and "failedReason" or "returnvalue" }
if ARGV[3] == "1" then stale[#stale + 1] = "atm" end
if ARGV[4] == "1" then stale[#stale + 1] = "ats" end
call("HDEL", job, unpack(stale))
local readable, opts = pcall(cjson.decode, held[2] or "")
local lifo = readable and type(opts) == "table" and opts.lifo == true
put_ready(id, number_of(held[1]), lifo)
note_ready(id, held[2], ARGV[5], "oxmq:retried")
restore_child(job, held[3], state)
announce("waiting", id, "prev", state)
return OK
