--[[ grow_partitions: say how many partitions a queue has; never fewer than before.

KEYS    1 base      "<prefix>:<queue>-{0}:", of the first partition
ARGV    1 count     how many there are to be
        2 found     1 to say so only if nothing is said yet
RETURN  how many there are
EVENTS  none
USES    queue
COST    two commands
]]
local key = base .. "oxmq:partitions"
local stored, count = tonumber(call("HGET", key, "count") or ""), tonumber(ARGV[1])
if stored and (ARGV[2] == "1" or stored >= count) then return stored end
call("HSET", key, "count", ARGV[1])
return count
