--[[ grow_partitions: set how many partitions a queue has; never fewer than before.

KEYS    1 base      "<prefix>:<queue>-{0}:" of the first partition
ARGV    1 count     the new number
        2 found     "1" to set it only if none is set yet
RETURN  the number that is set now
EVENTS  none
USES    queue
COST    two commands
]]
local key = base .. "oxmq:partitions"
local stored, count = tonumber(call("HGET", key, "count") or ""), tonumber(ARGV[1])
if stored and (ARGV[2] == "1" or stored >= count) then return stored end
call("HSET", key, "count", ARGV[1])
return count
