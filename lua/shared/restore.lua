-- Reads the parent's records, so that a key of a wrong type fails before the first write.
local checked_records = {}
local function check_records(parent)
  if not parent or parent == "" or checked_records[parent] then return end
  call("HLEN", parent .. ":processed")
  call("HLEN", parent .. ":failed")
  call("ZCARD", parent .. ":unsuccessful")
  call("SCARD", parent .. ":dependencies")
  checked_records[parent] = true
end

-- Makes a finished child that runs again pending again, if its parent has recorded how it ended.
local function restore_child(job, parent, state)
  if not parent or parent == "" or call("EXISTS", parent) == 0 then return end
  local recorded = 0
  if state == "completed" then
    recorded = call("HDEL", parent .. ":processed", job)
  elseif state == "failed" then
    recorded = call("ZREM", parent .. ":unsuccessful", job)
    if recorded == 0 then recorded = call("HDEL", parent .. ":failed", job) end
  end
  if recorded > 0 then call("SADD", parent .. ":dependencies", job) end
end
