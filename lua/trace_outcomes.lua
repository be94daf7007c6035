--[[ trace_outcomes: after a lost reply, find out which outcomes of a `settle` were applied.

KEYS    1 base      "<prefix>:<queue>:"
ARGV    1…          per job: id, token, the number of this start (`ats`), and "completed", "failed" or "" for a move
RETURN  array per job: 0 still active under the token, so nothing was applied; 1 applied; 2 the lock was lost before,
        and the job belongs to somebody else; 3 the job is gone, removed as it finished: by this attempt if it still had
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
    -- One that is there has finished under this start, or some other worker has it or had it since.
    return started == start and type(redis.pcall("ZSCORE", base .. target, id)) == "string" and 1 or 2
  end
  -- Moved, and started again by somebody; or active under the same start: then the lock ran out.
  return started == start and type(redis.pcall("LPOS", ACTIVE, id)) == "number" and 2 or 1
end

for i = 1, #ARGV, 4 do
  answer[#answer + 1] = trace(ARGV[i], ARGV[i + 1], ARGV[i + 2], ARGV[i + 3])
end
return answer
