--[[ is_maxed: whether as many jobs are active as the global concurrency allows.

KEYS    1 base      "<prefix>:<queue>:"
RETURN  1 or 0
EVENTS  none
USES    queue
COST    two commands
]]
local allowed = tonumber(call("HGET", META, "concurrency") or "")
return allowed and call("LLEN", ACTIVE) >= allowed and 1 or 0
