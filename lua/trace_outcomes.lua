--[[ trace_outcomes: after a lost reply, find out which outcomes of a `settle` were applied.

KEYS    1 base      "<prefix>:<queue>:"
ARGV    1…          per job: id, token, the number of this start (`ats`), and "completed", "failed" or "" for a move
RETURN  array per job: 0 still active under the token, so nothing was applied; 1 applied; 2 the lock was lost before,
        and the job belongs to somebody else
EVENTS  none
USES    codes, queue
COST    four reads per job, the last of them a pass over the active jobs
]]
local answer = {}

local function trace(id, token, start, target)
  local job = base .. id
  if call("GET", job .. ":lock") == token then return 0 end
  local started = redis.pcall("HGET", job, "ats")
  if target ~= "" then
    -- A job that is gone was removed as it finished. One that is there has finished under this start, or some other
    -- worker has it or had it since.
    if not started and call("EXISTS", job) == 0 then return 1 end
    return started == start and call("ZSCORE", base .. target, id) and 1 or 2
  end
  -- Moved, and started again by somebody; or active under the same start: then the lock ran out.
  return call("LPOS", ACTIVE, id) and started == start and 2 or 1
end

for i = 1, #ARGV, 4 do
  answer[#answer + 1] = trace(ARGV[i], ARGV[i + 1], ARGV[i + 2], ARGV[i + 3])
end
return answer
