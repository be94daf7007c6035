-- How attempts end that do not simply complete, as `settle` applies them.
local function write_reason(job, reason, stacktrace, tm)
  if reason == "" then return end
  call("HSET", job, "failedReason", reason, "stacktrace", stacktrace)
  if tm ~= "" then call("HSET", job, "tm", tm) end
end

local function priority_of(job)
  return number_of(call("HGET", job, "priority"))
end

local function spend_attempt(job)
  -- What is no number counts as none.
  if type(redis.pcall("HINCRBY", job, "atm", "1")) ~= "number" then call("HSET", job, "atm", "1") end
end

-- Why a job with relatives or a deduplication cannot end as asked; reads all that its end may write to.
local function family_refusal(kind, job, held, child, families)
  if held[3] then
    held.parent = parent_of(job)
    if held.parent and not is_sound(held.parent) then return WRONG_TYPE end
  end
  if held[4] and not can_end_deduplication(held[4]) then return WRONG_TYPE end
  if kind == "children" or kind == "completed" and families then
    if not held[1] and call("EXISTS", job) == 0 then return MISSING_JOB end
    local pending, failed = redis.pcall("SCARD", job .. ":dependencies"), redis.pcall("ZCARD", job .. ":unsuccessful")
    if type(pending) ~= "number" or type(failed) ~= "number" then return WRONG_TYPE end
    if kind == "completed" and pending > 0 then return PENDING_DEPENDENCIES end
    if failed > 0 then return FAILED_CHILDREN end
    if kind == "children" then
      if pending == 0 then return 1 end
      if child ~= "" and call("SISMEMBER", job .. ":dependencies", child) == 0 then return 1 end
    end
  end
end

-- Records the finished jobs of one rule in a row together.
local function flush(record, now)
  for _, kind in ipairs({ "completed", "failed" }) do
    local kept = record[kind]
    if #kept > 0 then
      call("ZADD", base .. kind, unpack(kept))
      record[kind] = {}
      if record.rule then retain(base .. kind, record.rule, tonumber(now)) end
    end
  end
  record.rule, record.kind = nil, nil
end

local function finish(kind, id, job, held, value, keep, field, record)
  local now = tonumber(ARGV[1])
  if held[4] then end_deduplication(id, held[4], now) end
  if held.parent then
    if kind == "completed" then
      child_completed(held.parent, job, value, now)
    else
      child_failed(held.parent, job, value, now)
    end
  end
  local attempts = number_of(held[2]) + 1
  if keep == "0" then
    delete_jobs({ job })
    if held[3] then detach(job, held[3]) end
  else
    local rule = keep ~= "-1" and retention(keep) or nil
    if record.rule ~= rule or (rule and record.kind ~= kind) then flush(record, ARGV[1]) end
    record.rule, record.kind = rule, kind
    local kept = record[kind]
    kept[#kept + 1], kept[#kept + 2] = ARGV[1], id
    call("HSET", job, field, value, "finishedOn", ARGV[1], "atm", digits(attempts))
    if held[5] then call("HDEL", job, "defa") end
    -- As in Node, a parent that retention releases is announced before the job that made room; in a batch after it.
    if record.alone then flush(record, ARGV[1]) end
  end
  call("XADD", EVENTS, "*", "event", kind, "jobId", id, field, value, "prev", "active")
  return attempts
end

local function count_ends(completed, failed, points, now)
  if completed > 0 then count_finished("completed", completed, points, now) end
  if failed > 0 then count_finished("failed", failed, points, now) end
end

local function end_failed(id, job, held, at, record)
  local reason, limit = ARGV[at + 3], tonumber(ARGV[at + 6])
  if ARGV[at + 5] ~= "0" then write_reason(job, reason, ARGV[at + 4], ARGV[at + 7]) end
  local attempts = finish("failed", id, job, held, reason, ARGV[at + 5], "failedReason", record)
  if attempts >= limit then
    call("XADD", EVENTS, "*", "event", "retries-exhausted", "jobId", id, "attemptsMade", digits(attempts))
  end
end

-- Whoever ends an attempt at a job that was to fail unrun has decided otherwise. What a failed child has decided stays.
local function drop_deferred_failure(job, held)
  if held[5] and redis.pcall("ZCARD", job .. ":unsuccessful") == 0 then call("HDEL", job, "defa") end
end

local function end_retry(id, job, at, held)
  local ready = ids_due(tonumber(ARGV[1]))
  if ready then promote(ready) end
  write_reason(job, ARGV[at + 3], ARGV[at + 4], ARGV[at + 6])
  drop_deferred_failure(job, held)
  put_ready(id, priority_of(job), ARGV[at + 5] == "1")
  spend_attempt(job)
  announce("waiting", id, "prev", "active")
end

local function end_delayed(id, job, at, held)
  write_reason(job, ARGV[at + 3], ARGV[at + 4], ARGV[at + 7])
  drop_deferred_failure(job, held)
  if ARGV[at + 6] == "1" then spend_attempt(job) end
  call("HSET", job, "delay", ARGV[at + 5])
  keep_cap()
  put_delayed(id, due_time(tonumber(ARGV[1]), tonumber(ARGV[at + 5])))
end

local function end_waiting(id, job)
  put_first(id, priority_of(job))
  announce("waiting", id, "prev", "active")
end

local function end_children(id, job, _, held)
  drop_deferred_failure(job, held)
  call("ZADD", base .. "waiting-children", ARGV[1], id)
  call("XADD", EVENTS, "*", "event", "waiting-children", "jobId", id, "prev", "active")
end

-- Takes away what somebody wants of an attempt at a job that is to fail; answers whether it was to stop this one.
local function take_request(id, token)
  local requests = base .. "oxmq:cancels"
  local request = redis.pcall("HGET", requests, id)
  if type(request) ~= "string" then return false end
  call("HDEL", requests, id)
  return string.sub(request, 1, #token + 1) == token .. "\n"
end

-- A cancelled attempt is the last one, though its worker has not heard of it: whoever takes the job now fails it unrun.
local function end_cancelled(kind, id, job, at)
  if kind == "retry" or kind == "delayed" then
    write_reason(job, ARGV[at + 3], ARGV[at + 4], ARGV[at + (kind == "retry" and 6 or 7)])
  end
  put_first(id, 0)
  announce("waiting", id, "prev", "active")
end

-- How attempts end whose job is not finished.
local WAYS = { retry = end_retry, delayed = end_delayed, waiting = end_waiting, children = end_children }
