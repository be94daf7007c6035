--[[ remove_rate_limit_key: end the current window of the rate limit, or a manual one.

KEYS    1 base      "<prefix>:<queue>:"
RETURN  1 if a window was open, else 0
EVENTS  none
USES    queue, settings, wake
COST    one pass of reads, at most two writes
]]
if call("DEL", base .. "limiter") == 0 then return 0 end
if call("LLEN", WAIT) + call("ZCARD", PRIORITIZED) > 0 then wake() end
return 1
