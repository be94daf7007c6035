-- An add with a parent, a scheduler or a deduplication.
local function is_of(kind, key)
  local found = call("TYPE", key).ok
  return found == kind or found == "none"
end

-- The job whose values begin at `at`, and how many they are.
local function read_linked(at)
  local traits = ARGV[at]
  local job = {
    kind = string.sub(traits, 1, 1), id = ARGV[at + 1], name = ARGV[at + 2], data = ARGV[at + 3], opts = ARGV[at + 4],
    at = ARGV[at + 5], delay = ARGV[at + 6], priority = ARGV[at + 7],
  }
  local more = at + 8
  if string.find(traits, "P", 1, true) then
    job.parent = { key = ARGV[more], json = ARGV[more + 1] }
    job.in_flow = string.find(traits, "F", 1, true)
    more = more + 2
  end
  if string.find(traits, "S", 1, true) then
    job.rjk = ARGV[more]
    more = more + 1
  end
  if string.find(traits, "D", 1, true) then
    local how = ARGV[more + 2]
    job.de = {
      id = ARGV[more], ttl = ARGV[more + 1] ~= "" and ARGV[more + 1], extend = string.find(how, "e", 1, true),
      replace = string.find(how, "r", 1, true), keep = string.find(how, "k", 1, true),
      reschedule = string.find(how, "s", 1, true),
    }
    more = more + 3
  end
  return job, more - at
end

local function refusal(job)
  if job.parent then
    if call("EXISTS", job.parent.key) == 0 then return MISSING_PARENT end
    if not is_of("hash", job.parent.key) or not is_of("set", job.parent.key .. ":dependencies")
      or not is_of("hash", job.parent.key .. ":processed") then
      return WRONG_TYPE
    end
  end
  if job.de and not (is_of("string", base .. "de:" .. job.de.id) and is_of("hash", base .. "dn:" .. job.de.id)) then
    return WRONG_TYPE
  end
  if job.id ~= "" and not is_of("hash", base .. job.id) then return WRONG_TYPE end
end

local function store(key, job)
  local fields = { "name", job.name, "data", job.data, "opts", job.opts, "timestamp", job.at, "delay", job.delay,
    "priority", job.priority }
  local function field(name, value)
    fields[#fields + 1], fields[#fields + 2] = name, value
  end
  if job.parent then
    field("parentKey", job.parent.key)
    field("parent", job.parent.json)
  end
  if job.rjk then field("rjk", job.rjk) end
  if job.de then field("deid", job.de.id) end
  call("HSET", key, unpack(fields))
end

-- Answers outcome, id, other, and how many values the job has.
local function add_linked(at, flush, next_number, free_number, place)
  local job, width = read_linked(at)
  local code = refusal(job)
  if code then
    -- Its number is spent all the same, as Node spends it.
    if code ~= MISSING_PARENT then next_number() end
    return code, job.id, "", width
  end
  keep_cap()
  local id, custom = job.id, job.id ~= ""
  if custom then next_number() else id = free_number() end
  local key = base .. id
  if custom and call("EXISTS", key) == 1 then
    if job.parent then
      flush()
      code = attach(id, key, job.parent, tonumber(job.at), job.in_flow)
      if code ~= OK then return code, id, "", width end
    end
    call("XADD", EVENTS, "*", "event", "duplicated", "jobId", id)
    return EXISTING, id, "", width
  end
  local outcome, other = CREATED, ""
  if job.de then
    flush()
    local owner, detail = deduplicate(job.de, {
      id = id, name = job.name, data = job.data, opts = job.opts, timestamp = tonumber(job.at),
      delay = tonumber(job.delay), parent = job.parent or { key = "" },
    })
    if owner then return detail, owner, id, width end
    if detail then outcome, other = REPLACED, detail end
  end
  store(key, job)
  call("XADD", EVENTS, "*", "event", "added", "jobId", id, "name", job.name)
  place(job.kind, id, job.at, job.delay, job.priority)
  if job.parent then call("SADD", job.parent.key .. ":dependencies", key) end
  return outcome, id, other, width
end
