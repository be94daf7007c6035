--[[ get_metrics: how many jobs finished in each minute.

KEYS    1 base      "<prefix>:<queue>:"
ARGV    1 kind      "completed" or "failed"
        2 start     first minute, 0 is the newest
        3 end       last minute, inclusive; below 0 it counts from the oldest
RETURN  {count, prevTS, prevCount, minutes stored, array of the minutes asked for}
EVENTS  none
USES    queue
COST    three commands
]]
local key = base .. "metrics:" .. ARGV[1]
local held, data = call("HMGET", key, "count", "prevTS", "prevCount"), key .. ":data"
return { held[1] or "0", held[2] or "0", held[3] or "0", call("LLEN", data), call("LRANGE", data, ARGV[2], ARGV[3]) }
