--[[ is_finished: whether a job has run to its end, and what came out.

KEYS    1 base      "<prefix>:<queue>:"
ARGV    1 id        the job
RETURN  {MISSING_JOB}, {0} not finished, {1, value} completed, {2, reason} failed; without value or reason where the job
        has none
EVENTS  none
USES    codes, queue, is_job
COST    four commands
]]
local id, job = ARGV[1], base .. ARGV[1]
local held = call("HMGET", job, "returnvalue", "failedReason")
if not is_job(job) then return { MISSING_JOB } end
if call("ZSCORE", base .. "completed", id) then return { 1, held[1] or nil } end
if call("ZSCORE", base .. "failed", id) then return { 2, held[2] or nil } end
return { 0 }
