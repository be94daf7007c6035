--[[ count_priorities: how many jobs are ready in each of the given priorities.

KEYS    1 base      "<prefix>:<queue>:"
ARGV    1…          priorities; 0 stands for the jobs without one
RETURN  array of numbers, in order
EVENTS  none
USES    queue, prioritize
COST    one command each
]]
local counts = {}
for i, priority in ipairs(ARGV) do
  local lowest = tonumber(priority) * TURNS
  if lowest == 0 then
    counts[i] = call("LLEN", WAIT)
  else
    counts[i] = call("ZCOUNT", PRIORITIZED, digits(lowest), digits(lowest + TURNS - 1))
  end
end
return counts
