-- The score of a prioritized job: its priority, then first come, first served.
local function priority_score(priority)
  return priority * 4294967296 + next_turn(PC)
end
