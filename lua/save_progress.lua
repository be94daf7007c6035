--[[ save_progress: store the progress of one or many jobs and announce each.

KEYS    1 base      "<prefix>:<queue>:"
ARGV    1…          id and progress (JSON) of each job, one after the other
RETURN  array of codes, one per job in order: OK, MISSING_JOB or WRONG_TYPE
EVENTS  progress {jobId, data}
USES    codes, queue, settings, is_job
COST    three commands per job; at most 1,000 jobs
]]
local answer = {}
for i = 1, #ARGV, 2 do
  local id, progress = ARGV[i], ARGV[i + 1]
  local found = is_job(base .. id)
  -- HSET alone would revive a job that was removed while its processor ran.
  if found == false then
    answer[#answer + 1] = MISSING_JOB
  elseif not found then
    answer[#answer + 1] = WRONG_TYPE
  else
    keep_cap()
    call("HSET", base .. id, "progress", progress)
    call("XADD", EVENTS, "MAXLEN", "~", settings.cap, "*", "event", "progress", "jobId", id, "data", progress)
    answer[#answer + 1] = OK
  end
end
return answer
