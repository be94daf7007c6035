-- Returns why an add with a parent, a scheduler or a deduplication is refused, or nothing.
local function refusal(job)
  if job.parent then
    if call("EXISTS", job.parent.key) == 0 then return MISSING_PARENT end
    if not is_of("hash", job.parent.key) or not is_of("set", job.parent.key .. ":dependencies")
      or not is_of("hash", job.parent.key .. ":processed") then
      return WRONG_TYPE
    end
    if not is_job(job.parent.key) then return MISSING_PARENT end
    -- A completed job that gets a parent may release it at once.
    if job.id ~= "" and call("ZSCORE", base .. "completed", job.id) then
      local home = split_key(job.parent.key)
      if home and home ~= base and not pcall(within, home, check_waiting_children) then return WRONG_TYPE end
    end
  end
  if job.de and not (is_of("string", base .. "de:" .. job.de.id) and is_of("hash", base .. "dn:" .. job.de.id)) then
    return WRONG_TYPE
  end
  if job.id ~= "" and not is_of("hash", base .. job.id) then return WRONG_TYPE end
end

-- Adds the job. Returns outcome, id, other, and how many values the job has in ARGV.
local function add_linked(arg, flush, next_number, free_number, place)
  local job, width = read_linked(arg)
  local code = refusal(job)
  if code then
    -- A refused add takes a number too, as in Node.
    if code ~= MISSING_PARENT then next_number() end
    return code, job.id, "", width
  end
  keep_cap()
  local id, custom = job.id, job.id ~= ""
  if custom then next_number() else id = free_number() end
  local key = base .. id
  if custom and is_taken(id, key) then
    if job.parent then
      flush()
      code = attach(id, key, job.parent, tonumber(job.timestamp))
      if code ~= OK then return code, id, "", width end
    end
    call("XADD", EVENTS, "*", "event", "duplicated", "jobId", id)
    return EXISTING, id, "", width
  end
  -- A child that was removed after it had finished does not run again for the same parent.
  if custom and job.parent and is_recorded(job.parent, key) then
    call("XADD", EVENTS, "*", "event", "duplicated", "jobId", id)
    return EXISTING, id, "", width
  end
  job.id = id
  local outcome, other = CREATED, ""
  if job.de then
    flush()
    local owner, detail = deduplicate(job.de, job)
    if owner then return detail, owner, id, width end
    if detail then outcome, other = REPLACED, detail end
  end
  store_job(job)
  place(job.kind, id, job.timestamp, job.delay, job.priority)
  if job.parent then call("SADD", job.parent.key .. ":dependencies", key) end
  return outcome, id, other, width
end
