--[[ get_rate_limit_ttl: for how long the rate limit allows no fetch.

KEYS    1 base      "<prefix>:<queue>:"
ARGV    1 max       jobs per window; 0 for the queue's global limit
RETURN  ms; without any limit the PTTL of the limiter: -2 it does not exist, -1 it has no end
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
