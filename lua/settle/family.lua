-- Reads the parent of a child, with the policy in the child's field `parent`.
local function parent_of(child)
  local held = call("HMGET", child, "parentKey", "parent")
  if not held[1] or held[1] == "" then return nil end
  local readable, link = pcall(cjson.decode, held[2] or "")
  if readable and type(link) == "table" and type(link.queueKey) == "string" and link.id ~= nil then
    return { key = held[1], home = link.queueKey .. ":", id = tostring(link.id), policy = link }
  end
  local home, id = split_key(held[1])
  return home and { key = held[1], home = home, id = id }
end

-- Returns whether every key that a child's outcome may write to has the right type. Read once per parent and call.
local readable_parents = {}
local function read_records(key)
  call("HLEN", key)
  call("SCARD", key .. ":dependencies")
  call("HLEN", key .. ":processed")
  call("HLEN", key .. ":failed")
  call("ZCARD", key .. ":unsuccessful")
end
local function read_parent(parent)
  local home, key = parent.home, parent.home .. parent.id
  read_records(key)
  if key ~= parent.key then read_records(parent.key) end
  if home ~= base then within(home, check_waiting_children) end
  -- The key and the field `parent` may name different queues; retention follows the key.
  local other = split_key(parent.key)
  if other and other ~= home and other ~= base then within(other, check_waiting_children) end
end
local function is_readable_parent(parent)
  local known = readable_parents[parent.key]
  if known == nil then
    known = pcall(read_parent, parent)
    readable_parents[parent.key] = known
  end
  return known
end

-- Records a completed child at its parent, and releases the parent after the last one.
local function child_completed(parent, child, value, now)
  if call("SREM", parent.key .. ":dependencies", child) == 0 then return end
  call("HSET", parent.key .. ":processed", child, value)
  within(parent.home, release_if_free, parent.id, now)
end

-- Fails the parent of a failed child with `fpof`: a worker of the parent's queue carries it out when it takes the
-- parent.
local function plan_failure(id, child, now)
  local parent = base .. id
  if call("EXISTS", parent) == 0 then return end
  local waited = call("ZREM", base .. "waiting-children", id) == 1
  if not waited and call("ZREM", DELAYED, id) == 1 then
    call("HSET", parent, "delay", "0")
    waited = true
  end
  if not waited and call("ZSCORE", base .. "failed", id) then return end
  call("HSET", parent, "defa", "child " .. child .. " failed")
  if waited then release(id, now) end
end

-- Releases the parent of a failed child with `cpof`, whatever its other children do.
local function release_waiting(id, now)
  if call("EXISTS", base .. id) == 1 and call("ZREM", base .. "waiting-children", id) == 1 then release(id, now) end
end

-- Records a failed child at its parent, as its policy says.
local function child_failed(parent, child, reason, now)
  local policy = parent.policy
  if not policy or not (policy.fpof or policy.cpof or policy.idof or policy.rdof) then return end
  local key = parent.home .. parent.id
  if call("SREM", key .. ":dependencies", child) == 0 then return end
  if policy.fpof then
    call("ZADD", key .. ":unsuccessful", digits(now), child)
    within(parent.home, plan_failure, parent.id, child, now)
  elseif policy.cpof then
    call("HSET", key .. ":failed", child, reason)
    within(parent.home, release_waiting, parent.id, now)
  else
    within(parent.home, release_if_free, parent.id, now)
    if policy.idof then call("HSET", key .. ":failed", child, reason) end
  end
end

-- Returns why the outcome of a job with relatives or a deduplication cannot be applied, or nothing. It reads every key
-- that the outcome may write to.
local function family_refusal(kind, job, held, child, families)
  if held[3] then
    held.parent = parent_of(job)
    if held.parent and not is_readable_parent(held.parent) then return WRONG_TYPE end
  end
  if held[4] and not can_end_deduplication(held[4]) then return WRONG_TYPE end
  if kind == "children" or kind == "completed" and families then
    if not held[1] and call("EXISTS", job) == 0 then return MISSING_JOB end
    local pending, failed = redis.pcall("SCARD", job .. ":dependencies"), redis.pcall("ZCARD", job .. ":unsuccessful")
    if type(pending) ~= "number" or type(failed) ~= "number" then return WRONG_TYPE end
    if kind == "completed" and pending > 0 then return PENDING_DEPENDENCIES end
    if failed > 0 then return FAILED_CHILDREN end
    if kind == "children" then
      if pending == 0 then return 1 end
      if child ~= "" and call("SISMEMBER", job .. ":dependencies", child) == 0 then return 1 end
    end
  end
end
