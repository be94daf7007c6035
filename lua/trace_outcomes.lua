--[[ trace_outcomes: after a lost reply, find out which outcomes of a `settle` were applied.

KEYS    1 base      "<prefix>:<queue>:"
ARGV    1…          per job: id, token, the number of this start (`ats`), and "completed", "failed", or "" if it was moved
RETURN  array per job: 0 the token still holds the lock, so nothing was applied; 1 applied; 2 the lock was lost before,
        and the job belongs to another worker; 3 the job was removed: by this attempt as it finished, if it still held
        its lock
EVENTS  none
USES    codes, queue
COST    four reads per job, the last of them a pass over the active jobs
]]
local answer = {}

local function trace(id, token, start, target)
  local job = base .. id
  if redis.pcall("GET", job .. ":lock") == token then return 0 end
  local started = redis.pcall("HGET", job, "ats")
  if target ~= "" then
    if not started and call("EXISTS", job) == 0 then return 3 end
    -- If the job exists, either this start has finished it, or another worker has it or had it since.
    return started == start and type(redis.pcall("ZSCORE", base .. target, id)) == "string" and 1 or 2
  end
  -- It was moved, and may have been started again. If it is active under the same start, the lock ran out instead.
  return started == start and type(redis.pcall("LPOS", ACTIVE, id)) == "number" and 2 or 1
end

for i = 1, #ARGV, 4 do
  answer[#answer + 1] = trace(ARGV[i], ARGV[i + 1], ARGV[i + 2], ARGV[i + 3])
end
return answer
