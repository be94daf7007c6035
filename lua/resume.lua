--[[ resume: resume the queue, after moving the jobs that BullMQ 5 keeps in `paused` back to `wait`.

KEYS    1 base      "<prefix>:<queue>:"
RETURN  how many ids are left in `paused`; above 0 the queue is still paused: call again
EVENTS  resumed, in the last call
USES    queue, settings, wake
COST    moves at most 1,000 ids
]]
local set_aside = base .. "paused"
local ids = call("LRANGE", set_aside, "0", "999")
-- Not by RENAME: it would overwrite a list that exists, and all ids in it would be lost.
if #ids > 0 then
  call("RPUSH", WAIT, unpack(ids))
  call("LTRIM", set_aside, digits(#ids), "-1")
  local left = call("LLEN", set_aside)
  if left > 0 then return left end
end
call("HDEL", META, "paused")
if call("LLEN", WAIT) + call("ZCARD", PRIORITIZED) == 0 then
  wake_when_due()
else
  wake(true)
end
call("XADD", EVENTS, "*", "event", "resumed")
return 0
