--[[ get_rate_limit_ttl: for how long no job may be fetched.

KEYS    1 base      "<prefix>:<queue>:"
ARGV    1 max       jobs per window; 0 for the queue's own number
RETURN  ms; without any number what PTTL says: -2 no limiter, -1 one without end
EVENTS  none
USES    queue
COST    three commands
]]
local limiter, max = base .. "limiter", tonumber(ARGV[1])
if max == 0 then max = tonumber(call("HGET", META, "max") or "") end
if not max then return call("PTTL", limiter) end
if (tonumber(call("GET", limiter) or "") or 0) < max then return 0 end
local left = call("PTTL", limiter)
if left == 0 then call("DEL", limiter) end
return math.max(0, left)
