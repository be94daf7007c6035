-- Applies outcomes other than a simple completion.

-- Writes why an attempt failed, and the further fields and values, with one command.
local function write_reason(job, reason, stacktrace, tm, ...)
  if reason == "" then
    if select("#", ...) > 0 then call("HSET", job, ...) end
  elseif tm == "" then
    call("HSET", job, "failedReason", reason, "stacktrace", stacktrace, ...)
  else
    call("HSET", job, "tm", tm, "failedReason", reason, "stacktrace", stacktrace, ...)
  end
end

-- Reads the fields of a job that outcomes depend on: what they are told as `held`. Every job of BullMQ has the first.
local function read_held(job)
  return redis.pcall("HMGET", job, "priority", "atm", "parentKey", "deid", "defa")
end

-- Returns how many attempts were made with this one. A counter that is no number counts as 0.
local function attempts_with_this(held)
  return digits(number_of(held[2]) + 1)
end

-- Adds collected jobs to `completed` and `failed`, and applies their retention rule.
local function flush(record, now)
  for _, kind in ipairs({ "completed", "failed" }) do
    local kept = record[kind]
    if #kept > 0 then
      call("ZADD", base .. kind, unpack(kept))
      record[kind] = {}
      if record.rule then rarely().retain(base .. kind, record.rule, tonumber(now)) end
    end
  end
  record.rule, record.kind = nil, nil
end

-- Adds a finished job to those that `flush` will store. Jobs under another rule are stored before it.
local function collect(kind, id, keep, record)
  local rule = keep ~= "-1" and rarely().retention(keep) or nil
  if record.rule ~= rule or (rule and record.kind ~= kind) then flush(record, ARGV[1]) end
  record.rule, record.kind = rule, kind
  local kept = record[kind]
  kept[#kept + 1], kept[#kept + 2] = ARGV[1], id
end

-- Stores, as their rules say, the jobs at these positions of the batch, which completed in bulk. Those that are not kept
-- have been deleted.
local function apply_rules(batch, alike, ids, n)
  local record = { completed = {}, failed = {} }
  for k = 1, n do
    local keep = batch.runs[alike[k]].rule or "-1"
    if keep ~= "0" then collect("completed", ids[k], keep, record) end
  end
  flush(record, ARGV[1])
end

-- Completes or fails a job. The further fields and values are stored with it, if it is kept.
local function finish(kind, id, job, held, value, keep, field, record, ...)
  local now = tonumber(ARGV[1])
  if held[4] then rarely().end_deduplication(id, held[4], now) end
  if held.parent then
    if kind == "completed" then
      rarely().child_completed(held.parent, job, value, now)
    else
      rarely().child_failed(held.parent, job, value, now)
    end
  end
  local attempts = number_of(held[2]) + 1
  if keep == "0" then
    delete_jobs({ job })
    if held[3] then rarely().detach(job, held[3]) end
  else
    collect(kind, id, keep, record)
    call("HSET", job, field, value, "finishedOn", ARGV[1], "atm", digits(attempts), ...)
    if held[5] then call("HDEL", job, "defa") end
    -- As in Node, a parent that retention releases is announced before the job that pushed it out. In a batch it is
    -- announced after it.
    if record.alone then flush(record, ARGV[1]) end
  end
  call("XADD", EVENTS, "*", "event", kind, "jobId", id, field, value, "prev", "active")
  return attempts
end

local function end_failed(id, job, held, arg, record)
  local reason, stacktrace, keep, tm = ARGV[arg + 3], ARGV[arg + 4], ARGV[arg + 5], ARGV[arg + 7]
  local attempts
  if reason == "" then
    attempts = finish("failed", id, job, held, reason, keep, "failedReason", record)
  elseif tm == "" then
    attempts = finish("failed", id, job, held, reason, keep, "failedReason", record, "stacktrace", stacktrace)
  else
    attempts = finish("failed", id, job, held, reason, keep, "failedReason", record, "stacktrace", stacktrace, "tm", tm)
  end
  if attempts >= tonumber(ARGV[arg + 6]) then
    call("XADD", EVENTS, "*", "event", "retries-exhausted", "jobId", id, "attemptsMade", digits(attempts))
  end
end

-- Clears the field `defa`, by which the next start would fail the job: an attempt that ends in another way has decided
-- otherwise. A failure that a failed child has planned stays.
local function drop_deferred_failure(job, held)
  if held[5] and redis.pcall("ZCARD", job .. ":unsuccessful") == 0 then call("HDEL", job, "defa") end
end

-- The jobs that are to be attempted again and that `place_again` has still to put where they wait: ids for both ends of
-- `wait`, and scores and ids for `delayed`.
local front, back, delayed, is_any_ready, has_promoted = {}, {}, {}, false, false
local function place_again()
  if #back > 0 then call("LPUSH", WAIT, unpack(back)) end
  if #front > 0 then call("RPUSH", WAIT, unpack(front)) end
  if is_any_ready then wake() end
  if #delayed > 0 then
    call("ZADD", DELAYED, unpack(delayed))
    settings.any_delayed = true
    wake_when_due()
  end
  front, back, delayed, is_any_ready = {}, {}, {}, false
end

-- As in Node, the jobs that are due come first.
local function end_retry(id, job, arg, held)
  local ready = not has_promoted and ids_due(tonumber(ARGV[1]))
  has_promoted = true
  if ready then promote(ready) end
  write_reason(job, ARGV[arg + 3], ARGV[arg + 4], ARGV[arg + 6], "atm", attempts_with_this(held))
  drop_deferred_failure(job, held)
  local priority = number_of(held[1])
  if priority ~= 0 then
    enqueue(id, priority)
  else
    local list = ARGV[arg + 5] == "1" and front or back
    list[#list + 1] = id
  end
  is_any_ready = true
  call("XADD", EVENTS, "*", "event", "waiting", "jobId", id, "prev", "active")
end

local function end_delayed(id, job, arg, held)
  local delay = ARGV[arg + 5]
  if ARGV[arg + 6] == "1" then
    write_reason(job, ARGV[arg + 3], ARGV[arg + 4], ARGV[arg + 7], "delay", delay, "atm", attempts_with_this(held))
  else
    write_reason(job, ARGV[arg + 3], ARGV[arg + 4], ARGV[arg + 7], "delay", delay)
  end
  drop_deferred_failure(job, held)
  local due, n = due_time(tonumber(ARGV[1]), tonumber(delay)), #delayed
  delayed[n + 1], delayed[n + 2] = digits(delayed_score(due)), id
  call("XADD", EVENTS, "*", "event", "delayed", "jobId", id, "delay", digits(due))
end

local function end_waiting(id, _, _, held)
  put_first(id, number_of(held[1]))
  call("XADD", EVENTS, "*", "event", "waiting", "jobId", id, "prev", "active")
end

local function end_children(id, job, _, held)
  drop_deferred_failure(job, held)
  call("ZADD", base .. "waiting-children", ARGV[1], id)
  call("XADD", EVENTS, "*", "event", "waiting-children", "jobId", id, "prev", "active")
end

-- Deletes the request to cancel this job; returns whether it named this attempt.
local function take_request(id, token)
  local requests = base .. "oxmq:cancels"
  local request = redis.pcall("HGET", requests, id)
  if type(request) ~= "string" then return false end
  call("HDEL", requests, id)
  return string.sub(request, 1, #token + 1) == token .. "\n"
end

-- A cancelled attempt is the last one, even if its worker has not heard of it: the next worker that takes the job fails
-- it without running it.
local function end_cancelled(kind, id, job, arg)
  if kind == "retry" or kind == "delayed" then
    write_reason(job, ARGV[arg + 3], ARGV[arg + 4], ARGV[arg + (kind == "retry" and 6 or 7)])
  end
  put_first(id, 0)
  rarely().announce("waiting", id, "prev", "active")
end

-- The outcomes that do not finish the job.
local MOVES = { retry = end_retry, delayed = end_delayed, waiting = end_waiting, children = end_children }
