-- Reads every key of a queue that a removal may write to: one of a wrong type fails the call before its first write.
-- Answers what the sorted sets held then.
local checked = {}
local function check_queue(home)
  local held = checked[home]
  if held then return held end
  held = {}
  checked[home] = held
  for _, list in ipairs(LISTS) do call("LLEN", home .. list) end
  for _, zset in ipairs(ZSETS) do held[zset] = call("ZCARD", home .. zset) end
  call("ZCARD", home .. "marker")
  call("ZCARD", home .. "repeat")
  call("XLEN", home .. "events")
  held.cap = call("HGET", home .. "meta", "opts.maxLenEvents")
  if held.cap and (#held.cap > 15 or not string.find(held.cap, "^%d+$")) then held.cap = DEFAULT_CAP end
  return held
end
