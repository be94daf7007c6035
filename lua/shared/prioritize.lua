-- The score of a prioritized job is its priority times TURNS, and its turn among the jobs of that priority.
local TURNS = 4294967296

-- The next turn. It only orders jobs: a counter that cannot be read, or is at its end, begins anew. Whoever asks has seen
-- that the key holds text.
local function next_turn(key)
  local turn = redis.pcall("INCR", key)
  if type(turn) == "number" then return turn % TURNS end
  call("SET", key, "1")
  return 1
end

-- First come, first served.
local function priority_score(priority)
  return priority * TURNS + next_turn(PC)
end
