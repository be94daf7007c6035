--[[ update_data: replace the data of one or many jobs.

KEYS    1 base      "<prefix>:<queue>:"
ARGV    1…          id and data (JSON) of each job, one after the other
RETURN  array of codes, one per job in order: OK, MISSING_JOB or WRONG_TYPE
EVENTS  none
USES    codes, queue, is_job
COST    two commands per job; at most 1,000 jobs
]]
local answer = {}
for i = 1, #ARGV, 2 do
  local found = is_job(base .. ARGV[i])
  if found then
    call("HSET", base .. ARGV[i], "data", ARGV[i + 1])
    answer[#answer + 1] = OK
  else
    answer[#answer + 1] = found == false and MISSING_JOB or WRONG_TYPE
  end
end
return answer
