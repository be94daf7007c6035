--[[ free_deduplication: end the deduplication that a job stands for, if it still does.

KEYS    1 base      "<prefix>:<queue>:"
ARGV    1 id        the job
        2 deid      its deduplication id
RETURN  1 if the job owned it, else 0
EVENTS  none
USES    queue
COST    two commands
]]
local owner = base .. "de:" .. ARGV[2]
return call("GET", owner) == ARGV[1] and call("DEL", owner) or 0
