-- Hands out jobs: promotes what is due, keeps to the limits, moves ids to `active`, locks them.
local FRESH = 6
local REPLY_BYTES = 512 * 1024

local function read_job(job)
  local fields = redis.pcall("HLEN", job)
  if fields == FRESH then
    -- Six fields prove nothing: another peer's may be others.
    local held = call("HMGET", job, "name", "data", "opts", "timestamp", "delay", "priority")
    local delay, priority = held[5], held[6]
    if held[1] and held[2] and held[3] and held[4] and delay and priority then
      if delay ~= "0" then return held, { "delay", delay, "priority", priority } end
      return held, priority == "0" and 0 or priority
    end
  end
  if type(fields) ~= "number" or fields == 0 then return nil end
  local all, named = call("HGETALL", job), {}
  for i = 1, #all, 2 do named[all[i]] = all[i + 1] end
  -- A hash without a name and data is no job, only what a late write left behind.
  if not named.name and not named.data then return nil end
  return { "", "", "", "" }, all, named
end

-- How many jobs the rate limit leaves, for how long it is exhausted, and whether jobs are counted at all.
local function allowance(max, limiter, window)
  local held = call("GET", limiter) or "0"
  local used, is_countable = tonumber(held) or 0, #held < 17 and string.find(held, "^%-?%d+$")
  if used < max and is_countable then return max - used, 0 end
  local ttl = call("PTTL", limiter)
  if used >= max and ttl > 0 then return 0, ttl end
  -- What is no number counts nothing, and could not be counted on. A counter without an end, as a restore may leave it,
  -- would switch the limit off for ever: its window begins now.
  if ttl == 0 or window == 0 or not is_countable then
    call("DEL", limiter)
    return max, 0
  end
  call("PEXPIRE", limiter, digits(window))
  return 0, window
end

-- Puts ids back that were taken out of the queue and did not fit; the first of them is the next again.
local function put_back(ids, from, scores)
  local back = {}
  if scores then
    for i = from, #ids do back[#back + 1], back[#back + 2] = scores[i], ids[i] end
    call("ZADD", PRIORITIZED, unpack(back))
  else
    for i = #ids, from, -1 do back[#back + 1] = ids[i] end
    call("RPUSH", WAIT, unpack(back))
  end
end

-- How many jobs may be handed out of so many that are wanted; what else `take` answers if it is none.
local function room_for(want, max, limiter, window)
  local left = want
  if limiter then
    local room, limited = allowance(max, limiter, window)
    if limited > 0 then return 0, { jobs = {}, limited = limited, due = 0, ghosts = {}, shut = false } end
    left = math.min(left, room)
  end
  local open = headroom()
  if open == 0 then return 0, { jobs = {}, limited = 0, due = 0, ghosts = {}, shut = true } end
  -- A fraction of a job is one, as it is in Node.
  return math.ceil(math.min(left, open))
end

-- Hands out up to `want` jobs. Answers
--   jobs     flat, six values per job: id, name, data, opts, timestamp, and 0, its priority, or an array of further fields
--            and their values; of a job that is not fresh all fields are there, and what stands before them is empty
--   limited  for how many ms the rate limit is exhausted
--   due      when the next delayed job is due, or now if there is more than one call may hand out
--   ghosts   ids that had no readable job
--   shut     whether the queue hands out nothing: it is paused, or as many jobs run as may
local function take(now, want, token, lock_ms, worker, own_max, own_window)
  local ready = ids_due(tonumber(now))
  if ready then on_demand().promote(ready) end
  -- Without a length of its window a limit cannot be kept, and counting would lock the queue for ever.
  local max, window = settings.max or tonumber(own_max), tonumber(own_window) or settings.duration
  window = window and window == window and math.min(math.floor(math.abs(window)), 9007199254740991)
  local limiter = max and window and base .. "limiter"
  local left, nothing = room_for(want, max, limiter, window)
  if nothing then return nothing end
  local jobs, ghosts, n, bytes, spent = {}, {}, 0, 0, 0

  -- Starts the job of an id, if it has one that can be read; else the id is a ghost.
  local function start(id)
    local job = base .. id
    local held, more, named = read_job(job)
    if not held then
      ghosts[#ghosts + 1] = id
      return false
    end
    jobs[n + 1], jobs[n + 2], jobs[n + 3], jobs[n + 4], jobs[n + 5], jobs[n + 6]
      = id, held[1], held[2], held[3], held[4], more
    n = n + 6
    bytes = bytes + #held[2] + #held[3]
    local starts = "1"
    if named then
      bytes = bytes + #(named.data or "") + #(named.opts or "")
      -- Counted as it is read: whole, from 0 on, and with an end.
      local before = tonumber(named.ats or "") or -1
      if before >= 0 then starts = digits(math.min(math.floor(before), 4294967294) + 1) end
    end
    if token ~= "0" then call("SET", job .. ":lock", token, "PX", lock_ms) end
    newest_event = call("XADD", EVENTS, "*", "event", "active", "jobId", id, "prev", "waiting")
    if worker ~= "" then
      call("HSET", job, "processedOn", now, "ats", starts, "pb", worker)
    else
      call("HSET", job, "processedOn", now, "ats", starts)
    end
    if not (named and named.defa) then spent = spent + 1 end
    return true
  end

  -- Starts the jobs of ids that have left the queue, until they are too large together; the others go back.
  local function start_all(ids, scores)
    local started, count, last = {}, 0, #ids
    for i = 1, last do
      if bytes >= REPLY_BYTES then
        put_back(ids, i, scores)
        break
      end
      local id = ids[i]
      -- Before version 5, wake-up marks stood among the ids of `wait`; they begin with "0:" and are no jobs.
      if (scores or string.byte(id, 1) ~= 48 or string.byte(id, 2) ~= 58) and start(id) then
        count = count + 1
        started[count] = id
      end
    end
    if count > 0 then call("LPUSH", ACTIVE, unpack(started)) end
    left = left - count
  end

  while left > 0 and bytes < REPLY_BYTES do
    local ids = call("RPOP", WAIT, left == 1 and "1" or digits(math.min(left, 100)))
    if not ids or #ids == 0 then break end
    start_all(ids)
  end
  while left > 0 and bytes < REPLY_BYTES do
    local popped = call("ZPOPMIN", PRIORITIZED, digits(math.min(left, 100)))
    if #popped == 0 then
      call("DEL", PC)
      break
    end
    local ids, scores = {}, {}
    for i = 1, #popped, 2 do ids[#ids + 1], scores[#scores + 1] = popped[i], popped[i + 1] end
    start_all(ids, scores)
  end

  if limiter and spent > 0 and call("INCRBY", limiter, digits(spent)) == spent then
    call("PEXPIRE", limiter, digits(window))
  end
  local due = 0
  if n > 0 then
    wake(true)
    if left > 0 and bytes >= REPLY_BYTES then due = tonumber(now) end
  elseif settings.any_delayed then
    local next_one = next_due()
    due = next_one and math.max(1, math.min(next_one, 9007199254740991)) or 0
  end
  return { jobs = jobs, limited = 0, due = due, ghosts = ghosts, shut = false }
end
