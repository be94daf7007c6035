-- Hands out up to `want` jobs: promotes what is due, keeps to the limits, moves ids to `active`, locks them.
-- Answers jobs, limited for ms, next due ms (now if there is more than one call may hand out), ids that had no readable
-- job, and whether the queue is shut; `jobs` is
-- flat, six values per job: id, name, data, opts, timestamp, and 0, its priority, or an array of further fields and
-- their values; of a job that is not fresh all fields are there, and what stands before them is empty.
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

local function take(now, want, token, lock_ms, worker, own_max, own_window)
  local ready = ids_due(tonumber(now))
  if ready then on_demand().promote(ready) end
  -- Without a length of its window a limit cannot be kept, and counting would lock the queue for ever.
  local max, window = settings.max or tonumber(own_max), tonumber(own_window) or settings.duration
  window = window and window == window and math.min(math.floor(math.abs(window)), 9007199254740991)
  local limiter = max and window and base .. "limiter"
  local left = want
  if limiter then
    local room, limited = allowance(max, limiter, window)
    if limited > 0 then return {}, limited, 0, {} end
    left = math.min(left, room)
  end
  local open = headroom()
  if open == 0 then return {}, 0, 0, {}, true end
  -- A fraction of a job is one, as it is in Node.
  left = math.ceil(math.min(left, open))
  local jobs, ghosts, at, bytes, spent = {}, {}, 0, 0, 0

  -- Starts jobs until they are too large together; the place of the first that is left.
  local function start(ids)
    local started, n, rest = {}, 0, nil
    for i, id in ipairs(ids) do
      if bytes >= REPLY_BYTES then
        rest = i
        break
      end
      local job = base .. id
      local held, more, named = read_job(job)
      if not held then
        ghosts[#ghosts + 1] = id
      else
        n = n + 1
        started[n] = id
        jobs[at + 1], jobs[at + 2], jobs[at + 3] = id, held[1], held[2]
        jobs[at + 4], jobs[at + 5], jobs[at + 6] = held[3], held[4], more
        at = at + 6
        bytes = bytes + #held[2] + #held[3]
        if named then bytes = bytes + #(named.data or "") + #(named.opts or "") end
        if token ~= "0" then call("SET", job .. ":lock", token, "PX", lock_ms) end
        call("XADD", EVENTS, "*", "event", "active", "jobId", id, "prev", "waiting")
        local starts = "1"
        if named and named.ats then
          -- Counted as it is read: whole, from 0 on, and with an end.
          local before = tonumber(named.ats) or 0
          if before >= 0 then starts = digits(math.min(math.floor(before), 4294967294) + 1) end
        end
        if worker ~= "" then
          call("HSET", job, "processedOn", now, "ats", starts, "pb", worker)
        else
          call("HSET", job, "processedOn", now, "ats", starts)
        end
        if not (named and named.defa) then spent = spent + 1 end
      end
    end
    if n > 0 then call("LPUSH", ACTIVE, unpack(started, 1, n)) end
    left = left - n
    return rest
  end

  while left > 0 and bytes < REPLY_BYTES do
    local asked = math.min(left, 100)
    local ids = call("RPOP", WAIT, asked == 1 and "1" or digits(asked))
    if not ids or #ids == 0 then break end
    local real = ids
    for i, id in ipairs(ids) do
      -- Before version 5, wake-up marks stood among the ids; they begin with "0:" and are no jobs.
      if string.byte(id, 1) == 48 and string.byte(id, 2) == 58 then
        if real == ids then real = { unpack(ids, 1, i - 1) } end
      elseif real ~= ids then
        real[#real + 1] = id
      end
    end
    local rest = start(real)
    if rest then
      local back = {}
      for i = #real, rest, -1 do back[#back + 1] = real[i] end
      call("RPUSH", WAIT, unpack(back))
    end
  end
  while left > 0 and bytes < REPLY_BYTES do
    local popped = call("ZPOPMIN", PRIORITIZED, digits(math.min(left, 100)))
    if #popped == 0 then
      call("DEL", PC)
      break
    end
    local ids = {}
    for i = 1, #popped, 2 do ids[#ids + 1] = popped[i] end
    local rest = start(ids)
    if rest then
      local back = {}
      for i = rest, #ids do back[#back + 1], back[#back + 2] = popped[2 * i], ids[i] end
      call("ZADD", PRIORITIZED, unpack(back))
    end
  end

  if limiter and spent > 0 and call("INCRBY", limiter, digits(spent)) == spent then
    call("PEXPIRE", limiter, digits(window))
  end
  if at > 0 then
    wake(true)
    return jobs, 0, left > 0 and bytes >= REPLY_BYTES and tonumber(now) or 0, ghosts
  end
  local due = settings.any_delayed and next_due()
  return jobs, 0, due and math.max(1, math.min(due, 9007199254740991)) or 0, ghosts
end
