-- Hands out up to `ask.want` jobs: promotes what is due, keeps to the limits, moves ids to `active`, locks them.
-- Answers {jobs, limited for ms, next due ms, ids that had no readable job}; `jobs` is flat, eight values per job:
-- id, name, data, opts, timestamp, delay, priority, and 0 or an array of every field when there are more than these.
local FRESH = 6
local REPLY_BYTES = 4 * 1024 * 1024

local function read_job(job)
  local fields = redis.pcall("HLEN", job)
  if type(fields) ~= "number" or fields == 0 then return nil end
  if fields == FRESH then
    local held = call("HMGET", job, "name", "data", "opts", "timestamp", "delay", "priority")
    if held[1] and held[2] and held[3] and held[4] and held[5] and held[6] then return held, 0 end
  end
  local all, named = call("HGETALL", job), {}
  for i = 1, #all, 2 do named[all[i]] = all[i + 1] end
  -- A hash without a name and data is no job, only what a late write left behind.
  if not named.name and not named.data then return nil end
  return { named.name or "", named.data or "", named.opts or "", named.timestamp or "", named.delay or "",
    named.priority or "" }, all, named
end

-- How many jobs the rate limit leaves, and for how long it is exhausted.
local function allowance(ask, limiter)
  local max = settings.max or ask.limit_max
  if not max then return math.huge, 0 end
  local used = tonumber(call("GET", limiter) or "0") or 0
  if used < max then return max - used, 0, true end
  local ttl = call("PTTL", limiter)
  if ttl > 0 then return 0, ttl, true end
  if ttl == 0 then
    call("DEL", limiter)
    return max, 0, true
  end
  return math.huge, 0, true
end

local function take(ask)
  promote_due(ask.now)
  local limiter, window = base .. "limiter", ask.limit_duration or settings.duration
  local room, limited, counted = allowance(ask, limiter)
  -- Without a length of its window a limit cannot be kept, and counting would lock the queue for ever.
  if counted and not window then room, limited, counted = math.huge, 0, false end
  if limited > 0 then return {}, limited, 0, {} end
  local open = headroom()
  if open == 0 then return {}, 0, 0, {}, true end
  local left = math.min(ask.want, room, open)
  local now, lock_ms, jobs, ghosts, bytes, spent = digits(ask.now), ask.lock_ms, {}, {}, 0, 0

  local function start(ids)
    local started, n = {}, 0
    for _, id in ipairs(ids) do
      local job = base .. id
      local held, rest, named = read_job(job)
      if not held then
        ghosts[#ghosts + 1] = id
      else
        n = n + 1
        started[n] = id
        local at = #jobs
        jobs[at + 1], jobs[at + 2], jobs[at + 3], jobs[at + 4] = id, held[1], held[2], held[3]
        jobs[at + 5], jobs[at + 6], jobs[at + 7], jobs[at + 8] = held[4], held[5], held[6], rest
        bytes = bytes + #held[2] + #held[3]
        if ask.token ~= "0" then call("SET", job .. ":lock", ask.token, "PX", lock_ms) end
        call("XADD", EVENTS, "*", "event", "active", "jobId", id, "prev", "waiting")
        local starts = named and digits((tonumber(named.ats or "") or 0) + 1) or "1"
        if ask.worker ~= "" then
          call("HSET", job, "processedOn", now, "ats", starts, "pb", ask.worker)
        else
          call("HSET", job, "processedOn", now, "ats", starts)
        end
        if not (named and named.defa) then spent = spent + 1 end
      end
    end
    if n > 0 then call("LPUSH", ACTIVE, unpack(started, 1, n)) end
    left = left - n
  end

  local step = math.min(left, 100)
  while left > 0 and bytes < REPLY_BYTES do
    local asked = math.min(left, step)
    local ids = call("RPOP", WAIT, digits(asked))
    if not ids or #ids == 0 then break end
    local real = {}
    for _, id in ipairs(ids) do
      -- Before version 5, wake-up marks stood among the ids; they begin with "0:" and are no jobs.
      if string.sub(id, 1, 2) ~= "0:" then real[#real + 1] = id end
    end
    start(real)
    -- Large jobs: the next step takes what still fits.
    if bytes > 0 then step = math.max(1, math.min(step, math.floor(REPLY_BYTES * step / bytes / 2))) end
  end
  while left > 0 and bytes < REPLY_BYTES do
    local popped = call("ZPOPMIN", PRIORITIZED, digits(math.min(left, step)))
    if #popped == 0 then
      call("DEL", PC)
      break
    end
    local ids = {}
    for i = 1, #popped, 2 do ids[#ids + 1] = popped[i] end
    start(ids)
  end

  if counted and spent > 0 and call("INCRBY", limiter, digits(spent)) == spent then
    call("PEXPIRE", limiter, digits(math.floor(math.abs(window))))
  end
  if #jobs > 0 then
    call("ZADD", MARKER, "0", "0")
    return jobs, 0, 0, ghosts
  end
  return jobs, 0, next_due() or 0, ghosts
end
