-- Returns whether a parent has recorded the outcome of this child. Most parents have no record at all, which one EXISTS
-- per parent tells.
local has_records = {}
local function is_recorded(parent, job)
  local processed, failed, unsuccessful = parent.key .. ":processed", parent.key .. ":failed", parent.key .. ":unsuccessful"
  if has_records[parent.key] == nil then has_records[parent.key] = call("EXISTS", processed, failed, unsuccessful) > 0 end
  return has_records[parent.key] and (redis.pcall("HEXISTS", processed, job) == 1
    or redis.pcall("HEXISTS", failed, job) == 1 or type(redis.pcall("ZSCORE", unsuccessful, job)) == "string")
end

-- Returns whether a child has failed for good and no longer holds this parent back: the parent has recorded the
-- failure, or the child's policy was to leave no record. A parent that waited for such a child would wait for ever.
local function has_let_go(id, job, parent, link)
  if type(redis.pcall("ZSCORE", base .. "failed", id)) ~= "string" then return false end
  if is_recorded(parent, job) then return true end
  local readable, policy = pcall(cjson.decode, link or "")
  -- A child that had failed before it got this parent is pending, whatever its policy says.
  return readable and type(policy) == "table" and policy.rdof
    and redis.pcall("SISMEMBER", parent.key .. ":dependencies", job) == 0
end

-- Handles an add with a parent whose id exists already: the existing job becomes a child of that parent, unless it
-- belongs to another one.
local function attach(id, job, parent, now, deferred)
  local held = call("HMGET", job, "parentKey", "returnvalue", "parent")
  local old = held[1]
  if old == parent.key then
    if has_let_go(id, job, parent, held[3]) then return OK end
  elseif old and old ~= "" and call("EXISTS", old) == 1 then
    if deferred then call("HSET", parent.key, "flowAttachmentFailed", "1") end
    return PARENT_CANNOT_BE_REPLACED
  end
  if call("ZSCORE", base .. "completed", id) then
    call("HSET", parent.key .. ":processed", job, held[2] or "null")
    local home, parent_id = split_key(parent.key)
    if home and not deferred then within(home, release_if_free, parent_id, now) end
  else
    call("SADD", parent.key .. ":dependencies", job)
  end
  call("HSET", job, "parentKey", parent.key, "parent", parent.json)
  return OK
end
