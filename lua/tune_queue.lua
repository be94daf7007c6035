--[[ tune_queue: set or remove global limits, and wake a worker that the old limits kept waiting.

KEYS    1 base      "<prefix>:<queue>:"
ARGV    1…          field of `meta` and its value, one after the other; an empty value removes the field
RETURN  how many fields are new or were removed
EVENTS  none
USES    queue, settings, wake
COST    one command per field, two to wake
]]
local changed = 0
for i = 1, #ARGV, 2 do
  if ARGV[i + 1] == "" then
    changed = changed + call("HDEL", META, ARGV[i])
  else
    changed = changed + call("HSET", META, ARGV[i], ARGV[i + 1])
  end
end
settings.concurrency = tonumber(call("HGET", META, "concurrency") or "")
if call("LLEN", WAIT) + call("ZCARD", PRIORITIZED) > 0 then wake() end
return changed
