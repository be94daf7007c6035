--[[ add_jobs: add any number of jobs, in order, each as one add of its own.

KEYS    1 base      "<prefix>:<queue>:", which every key of the queue begins with
ARGV    1…          the jobs, one after the other, eight values each:
                    traits id name data opts timestamp delay priority
                    where an empty id asks for the queue's next number, and traits is made of letters:
                    one of  w wait  l wait, last in first out  p prioritized  d delayed  c waiting for children
                    and     P with a parent: two more values follow, its job key and the `parent` JSON
                            F as part of a flow: a parent is not released here
                            S with a scheduler: one more value, the field `rjk`
                            D deduplicated: three more values, its id, ttl in ms or empty, and letters:
                              e extend  r replace  k keepLastIfActive  s reschedule
RETURN  array, three values per job in order: outcome, id, other
                    outcome 0 created  1 an existing job has this id  2 deduplicated  3 deduplicated, but set aside to
                    run after the active owner  4 created in place of the delayed job `other`
                    or a code below 0: nothing was done
EVENTS  added, waiting, delayed, waiting-children, duplicated, deduplicated, removed
USES    codes, outcomes, queue, settings, wake, delay, prioritize, release, detach, attach, dedup
COST    per job: HSET, two XADD and its share of LPUSH or ZADD; at most 1,000 jobs
]]
local jobs, keys, numbered, with_parents = {}, {}, 0, false
do
  local at = 1
  while ARGV[at] do
    local traits = ARGV[at]
    local job = {
      traits = traits, id = ARGV[at + 1], name = ARGV[at + 2], data = ARGV[at + 3], opts = ARGV[at + 4],
      at = ARGV[at + 5], delay_text = ARGV[at + 6], priority_text = ARGV[at + 7],
    }
    at = at + 8
    if #traits > 1 then
      if string.find(traits, "P", 1, true) then
        job.parent = { key = ARGV[at], json = ARGV[at + 1] }
        job.in_flow = string.find(traits, "F", 1, true)
        with_parents = true
        at = at + 2
      end
      if string.find(traits, "S", 1, true) then
        job.rjk = ARGV[at]
        at = at + 1
      end
      if string.find(traits, "D", 1, true) then
        local how = ARGV[at + 2]
        job.de = {
          id = ARGV[at], ttl = ARGV[at + 1] ~= "" and ARGV[at + 1], extend = string.find(how, "e", 1, true),
          replace = string.find(how, "r", 1, true), keep = string.find(how, "k", 1, true),
          reschedule = string.find(how, "s", 1, true),
        }
        at = at + 3
      end
    end
    jobs[#jobs + 1] = job
  end
end
-- As in `settings`: a key of a wrong type is met before anything is written.
call("STRLEN", base .. "id")
call("ZCARD", base .. "waiting-children")
call("ZCARD", base .. "completed")

-- Every add that is not refused for its parent takes a number, whether it needs one or not.
local counter
if not with_parents then counter = call("INCRBY", base .. "id", tostring(#jobs)) - #jobs end
local function next_number()
  if counter then
    counter = counter + 1
    return digits(counter)
  end
  return digits(call("INCR", base .. "id"))
end

-- The queue's own numbers are free, unless somebody tampered with the counter.
local clash = false
if counter then
  for i, job in ipairs(jobs) do
    if job.id == "" then keys[#keys + 1] = base .. digits(counter + i) end
  end
  clash = #keys > 0 and call("EXISTS", unpack(keys)) > 0
end

local pushed, put_first, ranked, due_later, parked = {}, {}, {}, {}, {}
local reply, trim = {}, false

local function place(job, id)
  local kind = string.sub(job.traits, 1, 1)
  if kind == "w" then
    pushed[#pushed + 1] = id
  elseif kind == "l" then
    put_first[#put_first + 1] = id
  elseif kind == "p" then
    ranked[#ranked + 1] = digits(priority_score(tonumber(job.priority_text)))
    ranked[#ranked + 1] = id
  elseif kind == "d" then
    local due = due_time(tonumber(job.at), tonumber(job.delay_text))
    due_later[#due_later + 1] = digits(delayed_score(due))
    due_later[#due_later + 1] = id
    call("XADD", EVENTS, "*", "event", "delayed", "jobId", id, "delay", digits(due))
    return
  else
    parked[#parked + 1] = job.at
    parked[#parked + 1] = id
    call("XADD", EVENTS, "*", "event", "waiting-children", "jobId", id)
    return
  end
  call("XADD", EVENTS, "*", "event", "waiting", "jobId", id)
end

-- What was collected is written before anything reads it: a deduplication, and the end of the call.
local function flush()
  if #pushed > 0 then call("LPUSH", WAIT, unpack(pushed)) end
  if #put_first > 0 then call("RPUSH", WAIT, unpack(put_first)) end
  if #ranked > 0 then call("ZADD", PRIORITIZED, unpack(ranked)) end
  if #parked > 0 then call("ZADD", base .. "waiting-children", unpack(parked)) end
  if #pushed + #put_first + #ranked > 0 then wake() end
  if #due_later > 0 then
    call("ZADD", DELAYED, unpack(due_later))
    wake_when_due()
  end
  pushed, put_first, ranked, due_later, parked = {}, {}, {}, {}, {}
end

local function is_of(kind, key)
  local found = call("TYPE", key).ok
  return found == kind or found == "none"
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

local function add(job)
  local code = refusal(job)
  if code then
    -- Its number is spent all the same, as Node spends it.
    if code ~= MISSING_PARENT then next_number() end
    return code, job.id, ""
  end
  local number = next_number()
  keep_cap()
  local id, custom = job.id, job.id ~= ""
  if not custom then
    id = number
    while (clash or with_parents) and call("EXISTS", base .. id) == 1 do
      id = digits(call("INCR", base .. "id"))
    end
  end
  local key = base .. id
  if custom and call("EXISTS", key) == 1 then
    if job.parent then
      flush()
      code = attach(id, key, job.parent, tonumber(job.at), job.in_flow)
      if code ~= OK then return code, id, "" end
    end
    call("XADD", EVENTS, "*", "event", "duplicated", "jobId", id)
    return EXISTING, id, ""
  end
  local outcome, other = CREATED, ""
  if job.de then
    flush()
    local owner, detail = deduplicate(job.de, {
      id = id, name = job.name, data = job.data, opts = job.opts, timestamp = tonumber(job.at),
      delay = tonumber(job.delay_text), parent = job.parent or { key = "" },
    })
    if owner then return detail, owner, id end
    if detail then outcome, other = REPLACED, detail end
  end
  if job.parent or job.rjk or job.de then
    local fields = { "name", job.name, "data", job.data, "opts", job.opts, "timestamp", job.at, "delay", job.delay_text,
      "priority", job.priority_text }
    local function field(name, value)
      fields[#fields + 1] = name
      fields[#fields + 1] = value
    end
    if job.parent then
      field("parentKey", job.parent.key)
      field("parent", job.parent.json)
    end
    if job.rjk then field("rjk", job.rjk) end
    if job.de then field("deid", job.de.id) end
    call("HSET", key, unpack(fields))
  else
    call("HSET", key, "name", job.name, "data", job.data, "opts", job.opts, "timestamp", job.at, "delay",
      job.delay_text, "priority", job.priority_text)
  end
  call("XADD", EVENTS, "*", "event", "added", "jobId", id, "name", job.name)
  place(job, id)
  if job.parent then call("SADD", job.parent.key .. ":dependencies", key) end
  return outcome, id, other
end

for _, job in ipairs(jobs) do
  local outcome, id, other = add(job)
  reply[#reply + 1] = outcome
  reply[#reply + 1] = id
  reply[#reply + 1] = other
end
flush()
trim_events()
return reply
