-- Deduplicates an add. Returns nil if the add goes on, else the id of the job that stands for it and the outcome (see
-- `add_jobs`). `de` has id, ttl (ms or nil), extend, replace, keep (keepLastIfActive) and reschedule.
local function own(de, key, id)
  if de.ttl and not de.keep then
    call("SET", key, id, "PX", de.ttl)
  else
    call("SET", key, id)
  end
end

-- Takes the key over from an owner that no longer exists. Without a time to live the key would block its deduplication
-- id for ever.
local function take_over(de, key, owner, id)
  if call("PTTL", key) ~= -1 or is_job(base .. owner) ~= false then return false end
  call("DEL", key, base .. "dn:" .. de.id)
  own(de, key, id)
  return true
end

local function announce_duplicate(de, kept, dropped)
  announce("deduplicated", kept, "deduplicationId", de.id, "deduplicatedJobId", dropped)
end

-- Keeps the latest add that came while the owner was active, to be run when the owner has finished.
local function set_aside(de, key, owner, job)
  if not de.keep or not call("LPOS", ACTIVE, owner) then return false end
  local stash = base .. "dn:" .. de.id
  call("DEL", stash)
  call("HSET", stash, "name", job.name, "data", job.data, "opts", job.opts, "jid", job.id)
  if job.parent then
    call("HSET", stash, "pk", job.parent.key, "pd", job.parent.json, "pdk", job.parent.key .. ":dependencies")
  end
  call("PERSIST", key)
  announce_duplicate(de, owner, job.id)
  return true
end

local function replace_delayed(de, key, owner, job)
  if call("ZREM", DELAYED, owner) == 0 then return false end
  delete_jobs({ base .. owner })
  call("XADD", EVENTS, "*", "event", "removed", "jobId", owner, "prev", "delayed")
  announce_duplicate(de, job.id, owner)
  call("DEL", base .. "dn:" .. de.id)
  if de.keep then
    call("SET", key, job.id)
  elseif de.ttl and not de.extend then
    call("SET", key, job.id, "KEEPTTL")
  else
    own(de, key, job.id)
  end
  return true
end

local function deduplicate(de, job)
  local key = base .. "de:" .. de.id
  local owner = call("GET", key)
  if not owner then
    own(de, key, job.id)
    return nil
  end
  if de.replace then
    if replace_delayed(de, key, owner, job) then return nil, owner end
    if take_over(de, key, owner, job.id) then return nil end
    if set_aside(de, key, owner, job) then return owner, SET_ASIDE end
    return owner, DEDUPLICATED
  end
  if take_over(de, key, owner, job.id) then return nil end
  local outcome = SET_ASIDE
  if not set_aside(de, key, owner, job) then
    outcome = DEDUPLICATED
    if de.ttl and de.extend then own(de, key, owner) end
    announce_duplicate(de, owner, job.id)
  end
  if de.reschedule and call("ZSCORE", DELAYED, owner) and call("TYPE", base .. owner).ok == "hash" then
    call("HSET", base .. owner, "delay", job.delay)
    put_delayed(owner, due_time(tonumber(job.timestamp), tonumber(job.delay)))
  end
  return owner, outcome
end
