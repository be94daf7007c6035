--[[ pause: pause the queue: workers fetch no jobs.

KEYS    1 base      "<prefix>:<queue>:"
RETURN  1
EVENTS  paused, even if the queue was paused already
USES    queue, settings
COST    three commands
]]
call("HSET", META, "paused", "1")
call("DEL", MARKER)
call("XADD", EVENTS, "*", "event", "paused")
return 1
