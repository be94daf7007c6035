--[[ count_jobs: how many jobs there are in each of the given lists and sorted sets.

KEYS    1 base      "<prefix>:<queue>:"
ARGV    1…          suffixes of keys
RETURN  array of numbers, in order
EVENTS  none
USES    queue, states, legacy
COST    one command each, two for `wait` and `paused`
]]
local counts = {}
for i, name in ipairs(ARGV) do counts[i] = count_of(name) end
return counts
