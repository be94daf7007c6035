-- Reads every key of a queue that a removal may write to: one of a wrong type fails the call before its first write.
local checked = {}
local function check_queue(home)
  if checked[home] then return end
  checked[home] = true
  for _, list in ipairs({ "wait", "paused", "active" }) do call("LLEN", home .. list) end
  for _, zset in ipairs({ "completed", "failed", "delayed", "prioritized", "waiting-children", "marker", "repeat" }) do
    call("ZCARD", home .. zset)
  end
  call("XLEN", home .. "events")
  call("HLEN", home .. "meta")
end
