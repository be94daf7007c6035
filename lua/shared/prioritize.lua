-- The score of a prioritized job is its priority times TURNS, plus its turn among the jobs of that priority.
local TURNS = 4294967296

-- Returns the next turn. It only orders jobs, so a counter that cannot be read, or has reached its limit, starts again
-- at 1. The caller has checked that the key is a string or missing.
local function next_turn(key)
  local turn = redis.pcall("INCR", key)
  if type(turn) == "number" then return turn % TURNS end
  call("SET", key, "1")
  return 1
end

-- Returns the score behind all jobs of this priority.
local function priority_score(priority)
  return priority * TURNS + next_turn(PC)
end
