-- The short way for the usual flow: all jobs are new, are ready or wait for children of the same flow, and go to queues
-- that are in use. The long way below checks job by job what is checked here for all jobs at once. The short way adds
-- the whole flow, or changes nothing and leaves the flow to the long way. With a second key in KEYS the long way is
-- always taken, so that tests can compare the two.

-- Returns the queues with the ids to add to them, and the job keys in order; nil for any other flow.
local function read_fresh(args, homes)
  -- `waiting` has the parents met so far; `parts` the further keys of parents, which must not exist.
  local queues, jobs, n, waiting, parts = {}, {}, 0, {}, {}
  for i = 1, homes do queues[i] = { base = args[2 + i], jobs = 0, pushed = {}, put_first = {}, parked = {} } end
  local at = 3 + homes
  while args[at] do
    local queue, count, parent = queues[tonumber(args[at])], tonumber(args[at + 1]), args[at + 2]
    if parent ~= "" and not waiting[parent] then return nil end
    local home, pushed = queue.base, queue.pushed
    at = at + 4
    for _ = 1, count do
      local place, id = args[at], args[at + 1]
      local job = home .. id
      n = n + 1
      jobs[n] = job
      if place == "w" then
        pushed[#pushed + 1] = id
      elseif place == "l" then
        queue.put_first[#queue.put_first + 1] = id
      elseif place == "c" then
        waiting[job] = true
        queue.parked[#queue.parked + 1], queue.parked[#queue.parked + 2] = args[at + 5], id
        parts[#parts + 1], parts[#parts + 2] = job .. ":dependencies", job .. ":processed"
      else
        return nil
      end
      at = at + 8
    end
    queue.jobs = queue.jobs + count
  end
  if n > 1000 or call("EXISTS", unpack(jobs)) > 0 or #parts > 0 and call("EXISTS", unpack(parts)) > 0 then return nil end
  return queues, jobs
end

-- Reads the queue's settings; returns false if the long way has to handle it. Every key that is written to is read
-- before the first write, so that a key of a wrong type fails the call with nothing changed.
local function can_take(queue)
  local home = queue.base
  local meta = call("HMGET", home .. "meta", "paused", "concurrency", "opts.maxLenEvents", "version")
  local cap = meta[3]
  if meta[2] or not cap or #cap > 15 or not string.find(cap, "^%d+$") then return false end
  local counter = call("GET", home .. "id")
  if counter and (#counter > 18 or not string.find(counter, "^%-?%d+$")) then return false end
  queue.is_open, queue.cap, queue.events = not meta[1], cap, home .. "events"
  queue.is_complete = meta[4]
  queue.is_full = call("XLEN", queue.events) + 3 * queue.jobs > tonumber(cap)
  call("LLEN", home .. "wait")
  call("ZCARD", home .. "waiting-children")
  call("ZCARD", home .. "marker")
  return true
end

local function add_fresh()
  local args, homes = ARGV, tonumber(ARGV[2])
  local queues, jobs = read_fresh(args, homes)
  if not queues then return nil end
  for i = 1, homes do
    if not can_take(queues[i]) then return nil end
  end
  local at, n, reply = 3 + homes, 0, {}
  while args[at] do
    local queue, count, parent, json = queues[tonumber(args[at])], tonumber(args[at + 1]), args[at + 2], args[at + 3]
    local events = queue.events
    at = at + 4
    for i = n + 1, n + count do
      local job, id, name = jobs[i], args[at + 1], args[at + 2]
      if parent == "" then
        call("HSET", job, "name", name, "data", args[at + 3], "opts", args[at + 4], "timestamp", args[at + 5], "delay",
          args[at + 6], "priority", args[at + 7])
      else
        call("HSET", job, "name", name, "data", args[at + 3], "opts", args[at + 4], "timestamp", args[at + 5], "delay",
          args[at + 6], "priority", args[at + 7], "parentKey", parent, "parent", json)
      end
      call("XADD", events, "*", "event", "added", "jobId", id, "name", name)
      call("XADD", events, "*", "event", args[at] == "c" and "waiting-children" or "waiting", "jobId", id)
      at = at + 8
    end
    if parent ~= "" then call("SADD", parent .. ":dependencies", unpack(jobs, n + 1, n + count)) end
    n = n + count
  end
  for i = 1, homes do
    local queue = queues[i]
    local home, pushed, first, parked = queue.base, queue.pushed, queue.put_first, queue.parked
    call("INCRBY", home .. "id", digits(queue.jobs))
    if #pushed > 0 then call("LPUSH", home .. "wait", unpack(pushed)) end
    if #first > 0 then call("RPUSH", home .. "wait", unpack(first)) end
    if #parked > 0 then call("ZADD", home .. "waiting-children", unpack(parked)) end
    if queue.is_open and #pushed + #first > 0 then call("ZADD", home .. "marker", "0", "0") end
    if queue.is_full then call("XTRIM", queue.events, "MAXLEN", "~", queue.cap) end
    if not queue.is_complete then reply[#reply + 1] = -i end
  end
  return reply
end

if not KEYS[2] then
  local added = add_fresh()
  if added then return added end
end
