--[[ read_finished: read whether jobs have finished, their outcomes, and the newest event id at that moment.

KEYS    1 base      "<prefix>:<queue>:"
ARGV    1…          the ids of the jobs
RETURN  id of the newest event ("0-0" if there is none), then for each job three items: 0 (not yet), 1 (completed),
        2 (failed), MISSING_JOB or WRONG_TYPE; the return value (JSON) or the reason, empty where there is none; and the
        timestamp of the job, empty where there is none
EVENTS  none
USES    codes, queue, is_job
COST    five commands per job; at most 1,000 jobs
]]
local newest = call("XREVRANGE", EVENTS, "+", "-", "COUNT", 1)[1]
local answer = { newest and newest[1] or "0-0" }
for i = 1, #ARGV do
  local id = ARGV[i]
  local found = is_job(base .. id)
  local status, value, born = 0, "", ""
  if found == false then
    status = MISSING_JOB
  elseif not found then
    status = WRONG_TYPE
  elseif call("ZSCORE", base .. "completed", id) then
    status, value = 1, call("HGET", base .. id, "returnvalue") or ""
  elseif call("ZSCORE", base .. "failed", id) then
    status, value = 2, call("HGET", base .. id, "failedReason") or ""
  end
  if found then born = call("HGET", base .. id, "timestamp") or "" end
  answer[#answer + 1] = status
  answer[#answer + 1] = value
  answer[#answer + 1] = born
end
return answer
