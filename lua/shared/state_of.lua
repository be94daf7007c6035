-- Returns the state of a job by its BullMQ name, or "unknown" if its id is in no list or set. Sets are asked first: a
-- list has to be searched from end to end.
local function state_of(id)
  for _, zset in ipairs({ "completed", "failed", "delayed", "prioritized" }) do
    if call("ZSCORE", base .. zset, id) then return zset end
  end
  if call("LPOS", ACTIVE, id) then return "active" end
  -- BullMQ 5 keeps waiting jobs in `paused` while the queue is paused.
  if call("LPOS", WAIT, id) or call("LPOS", base .. "paused", id) then return "waiting" end
  return call("ZSCORE", base .. "waiting-children", id) and "waiting-children" or "unknown"
end
