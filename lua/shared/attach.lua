-- Whether a parent has recorded how this child ended. Most parents have recorded nothing, which is asked once.
local has_records = {}
local function is_recorded(parent, job)
  local processed, failed, unsuccessful = parent.key .. ":processed", parent.key .. ":failed", parent.key .. ":unsuccessful"
  if has_records[parent.key] == nil then has_records[parent.key] = call("EXISTS", processed, failed, unsuccessful) > 0 end
  return has_records[parent.key] and (redis.pcall("HEXISTS", processed, job) == 1
    or redis.pcall("HEXISTS", failed, job) == 1 or type(redis.pcall("ZSCORE", unsuccessful, job)) == "string")
end

-- Whether a child of this parent has failed for good and let it go: its end is recorded there, or its policy was to leave
-- no record. Nothing would ever release a parent that waits for it.
local function has_let_go(id, job, parent, link)
  if type(redis.pcall("ZSCORE", base .. "failed", id)) ~= "string" then return false end
  if is_recorded(parent, job) then return true end
  local readable, policy = pcall(cjson.decode, link or "")
  -- One that had failed before it became a child is pending, whatever its policy says.
  return readable and type(policy) == "table" and policy.rdof
    and redis.pcall("SISMEMBER", parent.key .. ":dependencies", job) == 0
end

-- An id that exists already is added with a parent: the job becomes that parent's child, if it is free to.
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
