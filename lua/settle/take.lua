-- Hands out jobs: promotes the delayed jobs that are due, applies the limits, moves ids to `active` and locks the jobs.
local REPLY_BYTES = 512 * 1024

-- Data of more bytes are returned apart, since joining would copy them.
local LARGE = 2048

-- Returns as text how many attempts have started with this one. Counts as it is read: whole, from 0 on, and with an upper
-- bound.
local function starts_with(started)
  local before = tonumber(started or "") or -1
  return before >= 0 and digits(math.min(math.floor(before), 4294967294) + 1) or "1"
end

-- Returns the same as `read_job` of a plain job with so many fields that has failed before, and nil for any other.
local function read_failed(id, job, fields)
  local held = call("HMGET", job, "name", "data", "opts", "timestamp", "priority", "delay", "atm", "ats", "failedReason",
    "stacktrace", "processedOn", "pb")
  -- All fields are known if these are as many.
  for i = 1, fields do
    if not held[i] then return nil end
  end
  local name, data, opts, reason, traces, by = held[1], held[2], held[3], held[9], held[10], held[12] or ""
  local moment = held[4] .. " " .. held[5] .. " " .. held[6] .. " " .. held[7] .. " " .. held[8]
  if #id < 256 and #name < 256 and #moment < 256 and #opts < 65536 and #data <= LARGE and #reason < 65536
    and #traces < 65536 and #by < 256 and string.find(moment, "^%d+ %d+ %d+ %d+ %d+$") then
    local text = id .. name .. moment .. opts .. reason .. traces .. by .. data
    local lengths = #id + 256 * #name + 65536 * #moment + 16777216 * #opts + 1099511627776
    local further = #reason + 65536 * #traces + 4294967296 * (fields == 12 and 1 + #by or 0)
    return text, lengths, further, #text, starts_with(held[8])
  end
end

-- Returns the two or three values that `take` returns of a job, the third may be nil; the size of the largest of its fields,
-- how many attempts have started with this one, and whether it starts only to fail. Returns nil if there is no job.
local function read_job(id, job)
  local fields = ask("HLEN", job)
  -- A job is fresh if it has exactly the six fields of a plain new job.
  if fields == 6 then
    -- Six fields prove nothing: another library's job may have six others.
    local held = call("HMGET", job, "name", "data", "opts", "timestamp", "delay", "priority")
    local name, data, opts, moment, priority = held[1], held[2], held[3], held[4], held[6]
    if name and data and opts and moment and held[5] == "0" and priority then
      if priority ~= "0" then moment = moment .. " " .. priority end
      if #id < 256 and #name < 256 and #moment < 256 and #opts < 65536 then
        local lengths = #id + 256 * #name + 65536 * #moment + 16777216 * #opts
        if #data > LARGE then
          local text = id .. name .. moment .. opts
          return text, -lengths, data, #text + #data, "1"
        end
        local text = id .. name .. moment .. opts .. data
        return text, lengths, nil, #text, "1"
      end
    end
  elseif fields == 11 or fields == 12 then
    -- So many has a plain job that has failed before: one more if its worker had a name.
    local text, lengths, further, size, starts = read_failed(id, job, fields)
    if text then return text, lengths, further, size, starts end
  end
  if type(fields) ~= "number" or fields == 0 then return nil end
  local all, named = call("HGETALL", job), {}
  for i = 1, #all, 2 do named[all[i]] = all[i + 1] end
  -- A hash without name and data is no job: a late write created it after the job had been removed.
  if not named.name and not named.data then return nil end
  return id, all, nil, #id + #(named.data or "") + #(named.opts or ""), starts_with(named.ats), named.defa
end

-- Returns how many jobs the rate limit still allows, and for how many ms it is exhausted.
local function allowance(max, limiter, window)
  local held = call("GET", limiter) or "0"
  local used, is_countable = tonumber(held) or 0, #held < 17 and string.find(held, "^%-?%d+$")
  if used < max and is_countable then return max - used, 0 end
  local ttl = call("PTTL", limiter)
  if used >= max and ttl > 0 then return 0, ttl end
  -- A counter that is no number cannot be counted on. A counter without an expiry, as a restore may leave it, would
  -- block the queue for ever: its window begins now.
  if ttl == 0 or window == 0 or not is_countable then
    call("DEL", limiter)
    return max, 0
  end
  call("PEXPIRE", limiter, digits(window))
  return 0, window
end

-- Returns how many of `want` jobs may be handed out; if none, also what `take` returns.
local function room_for(want, max, limiter, window)
  local left = want
  if limiter then
    local room, limited = allowance(max, limiter, window)
    if limited > 0 then return 0, { jobs = {}, limited = limited, due = 0, ghosts = {}, closed = false } end
    left = math.min(left, room)
  end
  local open = headroom()
  if open == 0 then return 0, { jobs = {}, limited = 0, due = 0, ghosts = {}, closed = true } end
  -- A fraction counts as a whole job, as in Node.
  return math.ceil(math.min(left, open))
end

-- Hands out up to `left` jobs that wait. Returns them and the ghosts as `take` does, how many count for the rate limit,
-- and whether it stopped because the reply is large enough.
local function hand_out(left, now, token, lock_ms, worker)
  local jobs, ghosts, n, bytes, spent = {}, {}, 0, 0, 0

  -- Starts the job of an id. Returns false if the id has no readable job: it is a ghost.
  local function start(id)
    local job = base .. id
    local text, more, third, size, starts, only_fails = read_job(id, job)
    if not text then
      -- Before version 5, BullMQ put markers among the ids of `wait`; they begin with "0:" and are no jobs.
      if string.sub(id, 1, 2) ~= "0:" then ghosts[#ghosts + 1] = id end
      return false
    end
    jobs[n + 1], jobs[n + 2] = text, more
    n, bytes = n + 2, bytes + size
    if third then
      n = n + 1
      jobs[n] = third
    end
    if token ~= "0" then call("SET", job .. ":lock", token, "PX", lock_ms) end
    newest_event = call("XADD", EVENTS, "*", "event", "active", "jobId", id, "prev", "waiting")
    if worker ~= "" then
      call("HSET", job, "processedOn", now, "ats", starts, "pb", worker)
    else
      call("HSET", job, "processedOn", now, "ats", starts)
    end
    if not only_fails then spent = spent + 1 end
    return true
  end

  local count, at

  -- Starts popped jobs until the reply is large enough. `at` is then the first that was not started.
  local function start_each(ids, scores)
    while at <= #ids and bytes < REPLY_BYTES do
      local id = ids[at]
      if start(id) then
        count = count + 1
        ids[count] = id
        if scores then scores[count] = scores[at] end
      end
      at = at + 1
    end
    if count > 0 then call("LPUSH", ACTIVE, unpack(ids, 1, count)) end
  end

  -- Starts popped jobs, and puts back those that were not started: all of them if the server refuses a command.
  local function start_all(ids, scores)
    count, at = 0, 1
    local is_done, problem = pcall(start_each, ids, scores)
    if not is_done then on_demand().undo(problem, ids, scores, count, at) end
    if at <= #ids then on_demand().put_back(ids, at, scores) end
    left = left - count
  end

  while left > 0 and bytes < REPLY_BYTES do
    local ids = call("RPOP", WAIT, left == 1 and "1" or digits(math.min(left, 100)))
    if not ids or #ids == 0 then break end
    start_all(ids)
  end
  while left > 0 and bytes < REPLY_BYTES do
    local popped, ids, scores = call("ZPOPMIN", PRIORITIZED, digits(math.min(left, 100))), {}, {}
    if #popped == 0 then
      call("DEL", PC)
      break
    end
    for i = 1, #popped, 2 do ids[#ids + 1], scores[#scores + 1] = popped[i], popped[i + 1] end
    start_all(ids, scores)
  end
  return jobs, ghosts, spent, left > 0 and bytes >= REPLY_BYTES
end

-- Hands out up to `want` jobs. Returns
--   jobs     flat. A fresh job is a text and a number: in the text follow each other id, name, timestamp (with a space and
--            the priority behind it if it has one), opts and data; the number has the lengths of the first four as digits
--            to the base of 256, of which the last has two. If the data are large, the number is below 0 and the data are a
--            third value. A plain job that has failed before is the same, but behind the timestamp follow, with a space
--            before each, priority, delay, atm and ats, and behind opts failedReason, stacktrace and pb; 2^40 is added to
--            the number, and a third value has the lengths of these texts: of two and of two digits, and that of pb with 1
--            added, or 0 without pb. Any other job is its id and an array with all its fields and values
--   limited  for how many ms the rate limit is exhausted
--   due      when the next delayed job is due, or now if there are more jobs than fit into one reply
--   ghosts   ids that had no readable job
--   closed   whether the queue hands out nothing: it is paused, or its global concurrency is reached
local function take(now, want, token, lock_ms, worker, own_max, own_window)
  local ready = ids_due(tonumber(now))
  if ready then on_demand().promote(ready) end
  -- A limit without the length of its window cannot be applied: a counter that never expires would block the queue.
  local max, window = settings.max or tonumber(own_max), tonumber(own_window) or settings.duration
  window = window and window == window and math.min(math.floor(math.abs(window)), 9007199254740991)
  local limiter = max and window and base .. "limiter"
  local left, nothing = room_for(want, max, limiter, window)
  if nothing then return nothing end
  local jobs, ghosts, spent, is_full = hand_out(left, now, token, lock_ms, worker)
  if limiter and spent > 0 and call("INCRBY", limiter, digits(spent)) == spent then
    call("PEXPIRE", limiter, digits(window))
  end
  local due = 0
  if #jobs > 0 then
    wake(true)
    if is_full then due = tonumber(now) end
  elseif settings.any_delayed then
    local next_one = next_due()
    due = next_one and math.max(1, math.min(next_one, 9007199254740991)) or 0
  end
  return { jobs = jobs, limited = 0, due = due, ghosts = ghosts, closed = false }
end
