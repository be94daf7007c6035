--[[ pause: let no worker of the queue fetch.

KEYS    1 base      "<prefix>:<queue>:"
RETURN  1
EVENTS  paused, also where the queue was paused already
USES    queue, settings
COST    three commands
]]
call("HSET", META, "paused", "1")
call("DEL", MARKER)
call("XADD", EVENTS, "*", "event", "paused")
return 1
