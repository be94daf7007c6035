--[[ list_schedulers: read job schedulers, one by its id or those of a range by their next run.

KEYS    1 base    "<prefix>:<queue>:"
ARGV    1 what    "one", "asc" or "desc"
        2 first   the id, or the first place; places below 0 count from the end
        3 last    the last place; not with "one"
RETURN  {next, id, slot, hash, id, slot, hash, ...}
        next is the place to go on at, or -1 when that was all; a hash is an array of fields and values and may be empty
EVENTS  none
USES    queue
COST    one command per scheduler, at most 200 of them
]]
local LIMIT = 200
local zset, found, goes_on = base .. "repeat", {}, -1
if ARGV[1] == "one" then
  local slot = call("ZSCORE", zset, ARGV[2])
  if slot then found = { ARGV[2], slot } end
else
  local first, last, all = tonumber(ARGV[2]), tonumber(ARGV[3]), call("ZCARD", zset)
  if first < 0 then first = math.max(0, all + first) end
  if last < 0 then last = all + last end
  if last >= first + LIMIT then
    last = first + LIMIT - 1
    if last < all - 1 then goes_on = last + 1 end
  end
  if last >= first then
    found = call(ARGV[1] == "asc" and "ZRANGE" or "ZREVRANGE", zset, digits(first), digits(last), "WITHSCORES")
  end
end
local reply = { goes_on }
for i = 1, #found, 2 do
  reply[#reply + 1], reply[#reply + 2] = found[i], found[i + 1]
  reply[#reply + 1] = call("HGETALL", base .. "repeat:" .. found[i])
end
return reply
