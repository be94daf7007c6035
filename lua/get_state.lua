--[[ get_state: where a job is.

KEYS    1 base      "<prefix>:<queue>:"
ARGV    1 id        the job
RETURN  name of the state, or "unknown"
EVENTS  none
USES    queue
COST    five lookups; then a pass over each list until the job is found
]]
local id = ARGV[1]
for _, zset in ipairs({ "completed", "failed", "delayed", "prioritized" }) do
  if call("ZSCORE", base .. zset, id) then return zset end
end
if call("LPOS", ACTIVE, id) then return "active" end
-- BullMQ 5 keeps waiting jobs in `paused` while the queue is paused.
if call("LPOS", WAIT, id) or call("LPOS", base .. "paused", id) then return "waiting" end
return call("ZSCORE", base .. "waiting-children", id) and "waiting-children" or "unknown"
