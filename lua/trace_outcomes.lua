--[[ trace_outcomes: after a lost reply, find out which outcomes of a `settle` were applied.

KEYS    1 base      "<prefix>:<queue>:"
ARGV    1…          id, token and the number of this start (`ats`) of each job
RETURN  array per job: 0 still active under the token, so nothing was applied; 1 applied; 2 the lock was lost before,
        and the job belongs to somebody else
EVENTS  none
USES    codes, queue
COST    four reads per job, the last of them a pass over the active jobs
]]
local answer = {}
for i = 1, #ARGV, 3 do
  local id, token, start = ARGV[i], ARGV[i + 1], ARGV[i + 2]
  local job = base .. id
  local held = redis.pcall("HGET", job, "ats")
  if call("GET", job .. ":lock") == token then
    answer[#answer + 1] = 0
  elseif call("LPOS", ACTIVE, id) then
    -- Active, but not ours: either the lock ran out, or our outcome was applied and somebody runs the job again.
    answer[#answer + 1] = held == start and 2 or 1
  else
    answer[#answer + 1] = 1
  end
end
return answer
