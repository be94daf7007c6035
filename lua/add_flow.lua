--[[ add_flow: add trees of jobs, parents before their children, in any number of queues; all of them or none.

KEYS    1 base      "<prefix>:<queue>:" of the first root, whose hash tag all queues share on a cluster
ARGV    1 now       ms, the caller's clock
        2 homes     how many base keys follow, one of each queue
        3…          the base keys, then the jobs level by level, in runs of one queue and one parent. In front of a run
                    stand the number of its queue (from 1), the number of its jobs, the parent's job key and the
                    `parent` JSON, both empty where there is none; then eight values for each job as in `add_jobs`,
                    without a parent; every job has an id
RETURN  array, four values for each job that was not simply created: its position (from 1), and outcome, id and other as
        `add_jobs` answers; then, below 0, the number of each home where something was written and the
        settings were not complete: it had no version, or no cap of the event stream and has the default one now
EVENTS  added, waiting, delayed, waiting-children, duplicated, deduplicated, removed
USES    codes, outcomes, queue, add_flow/fresh, settings, wake, homes, number, is_job, is_taken, announce, delay,
        prioritize, ready, job_key, release, delete, attach, dedup, read_linked, store, placing
COST    per job: HSET, two XADD, and its share of EXISTS, LPUSH or ZADD, SADD and INCRBY; six reads per queue. On the long
        way a TYPE per job, and twelve reads per queue
]]
local family = on_demand()
local now, homes = tonumber(ARGV[1]), tonumber(ARGV[2])

-- Reads every key that is written to before the first write, so that a key of a wrong type fails the call with nothing
-- changed.
for i = 1, homes do
  enter(ARGV[2 + i])
  local counter = call("GET", base .. "id")
  if counter and (#counter > 18 or not string.find(counter, "^%-?%d+$")) then
    error("the number of the last job cannot be read")
  end
  call("ZCARD", base .. "waiting-children")
  call("ZCARD", base .. "completed")
end

local jobs, parents, known = {}, {}, {}
local function require_kind(kind, key)
  local found = call("TYPE", key).ok
  if found ~= kind and found ~= "none" then error("WRONGTYPE " .. key .. " is no " .. kind) end
  return found
end

-- Notes whether a job exists at this key; a hash there that is no job is a stub of one that was removed.
local stored, stubs = {}, {}
local function look_up(key)
  if stored[key] ~= nil then return end
  local exists = require_kind("hash", key) == "hash"
  stored[key] = exists and family.is_job(key)
  stubs[key] = exists and not stored[key]
end

-- Notes a parent. It may be a job of this flow, one stored earlier, or one of another queue; `parents` keeps the order
-- in which they come up.
local function note_parent(key)
  if known[key] then return end
  -- The parent's queue may have no job of this flow, and the parent may be released there.
  local home = family.split_key(key)
  if home and not visited[home] then within(home, family.check_waiting_children) end
  known[key] = { key = key, children = {} }
  parents[#parents + 1] = known[key]
  look_up(key)
  require_kind("set", key .. ":dependencies")
  require_kind("hash", key .. ":processed")
end

do
  local at = 3 + homes
  while ARGV[at] do
    local home, count = ARGV[2 + tonumber(ARGV[at])], tonumber(ARGV[at + 1])
    local parent = ARGV[at + 2] ~= "" and { key = ARGV[at + 2], json = ARGV[at + 3] } or nil
    if parent then note_parent(parent.key) end
    at = at + 4
    for _ = 1, count do
      local job, width = family.read_linked(at)
      job.home, job.key, job.parent = home, home .. job.id, parent
      look_up(job.key)
      if job.de then
        require_kind("string", home .. "de:" .. job.de.id)
        require_kind("hash", home .. "dn:" .. job.de.id)
      end
      jobs[#jobs + 1] = job
      at = at + width
    end
  end
end
for _, parent in ipairs(parents) do
  parent.is_old = stored[parent.key]
end

-- Returns whether a job has ended for a parent that existed before, and was removed since. Neither it nor the jobs
-- below it run again.
local done = {}
local function is_done(job)
  local parent = job.parent
  if not parent then return false end
  if not done[parent.key]
    and (stored[job.key] or not known[parent.key].is_old or not family.is_recorded(parent, job.key)) then
    return false
  end
  done[job.key] = true
  return true
end

-- Writes what was collected for the present queue, and counts up its id counter: each job takes a number, as in Node.
local spent, most = 0, 0
local function leave()
  if spent > 0 then call("INCRBY", base .. "id", digits(spent)) end
  spent, most = 0, 0
  flush()
end

local function add_child(parent, key)
  local children = known[parent.key].children
  children[#children + 1] = key
end

local function add_pending_children(parent)
  local children = parent.children
  for i = 1, #children, 1000 do
    call("SADD", parent.key .. ":dependencies", unpack(children, i, math.min(i + 999, #children)))
  end
  parent.children = {}
end

local function add(job)
  local parent, has_ended = job.parent, is_done(job)
  if parent and not has_ended and not stored[parent.key] then return MISSING_PARENT, job.id, "" end
  if base ~= job.home or most >= 1000 then
    leave()
    enter(job.home)
  end
  keep_cap()
  settings.is_written = true
  spent, most = spent + 1, most + 1
  if stored[job.key] or has_ended then
    if parent and not has_ended then
      -- `attach` reads the relatives, so what was collected has to be written first.
      leave()
      add_pending_children(known[parent.key])
      known[parent.key].is_open = true
      local code = family.attach(job.id, job.key, parent, now, true)
      if code ~= OK then return code, job.id, "" end
    end
    call("XADD", EVENTS, "*", "event", "duplicated", "jobId", job.id)
    return EXISTING, job.id, ""
  end
  local outcome, other = CREATED, ""
  if job.de then
    leave()
    local owner, detail = family.deduplicate(job.de, job)
    if owner then return detail, owner, job.id end
    if detail then outcome, other = REPLACED, detail end
  end
  if stubs[job.key] then family.is_taken(job.id, job.key) end
  family.store_job(job)
  stored[job.key] = true
  place(job.kind, job.id, job.timestamp, job.delay, job.priority)
  if parent then add_child(parent, job.key) end
  return outcome, job.id, other
end

local reply, n = {}, 0
enter(jobs[1].home)
for i, job in ipairs(jobs) do
  local outcome, id, other = add(job)
  if outcome ~= CREATED then
    reply[n + 1], reply[n + 2], reply[n + 3], reply[n + 4] = i, outcome, id, other
    n = n + 4
  end
end
leave()
for _, parent in ipairs(parents) do
  add_pending_children(parent)
end
-- Releases a parent whose children had all finished before. One whose child could not be attached goes on waiting.
for _, parent in ipairs(parents) do
  if parent.is_open and call("HDEL", parent.key, "flowAttachmentFailed") == 0 then
    local home, id = family.split_key(parent.key)
    if home then within(home, family.release_if_free, id, now) end
  end
end
for i = 1, homes do
  enter(ARGV[2 + i])
  if settings.has_cap then trim_events(3 * #jobs) end
  if settings.is_written and not settings.is_complete then
    reply[n + 1] = -i
    n = n + 1
  end
end
return reply
