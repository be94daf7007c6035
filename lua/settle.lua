--[[ settle: end any number of attempts, each in its own way, and hand out the next jobs in the same step.

KEYS    1 base      "<prefix>:<queue>:", which every key of the queue begins with
ARGV    1 now       ms, the caller's clock
        2 want      how many jobs to hand out; 0 for none
        3 token     the lock of the jobs handed out; "0" for none
        4 lock_ms   how long that lock lives
        5 worker    name of the worker, written to `pb`; may be empty
        6 max       jobs per window of the worker's own limit; empty for none
        7 window    length of that window in ms; empty for none
        8 points    metrics: minutes to keep; empty for none
        9…          the outcomes, one after the other, each beginning with its kind, the job's id and its token:
            "completed" id token value keep
            "failed"    id token reason stacktrace keep attempts tm
            "retry"     id token reason stacktrace lifo tm
            "delayed"   id token reason stacktrace delay counts tm
            "waiting"   id token
            "children"  id token child
        where keep is a rule of `retain`, lifo and counts are "1" or "0", delay is in ms, an empty reason writes
        nothing, and child is a job key or empty for any child
RETURN  {codes, jobs, limited, next, ghosts, ttl}: one code per outcome in order (OK, 1 for "children" with nothing
        pending, or why nothing was changed), then what `take` answers, then the ms for which the limiter still runs
EVENTS  completed, failed, retries-exhausted, waiting, delayed, waiting-children, active, drained
USES    codes, queue, settings, wake, delay, prioritize, promote, release, detach, retain, family, metrics,
        dedup_finish, take
COST    per completed job: HMGET, LREM, HSET, XADD and its share of MGET, DEL, SREM, EXISTS, ZADD;
        per job handed out: HLEN, HMGET, SET, XADD, HSET and its share of RPOP, LPUSH; at most 1,000 of either
]]
local now, want = tonumber(ARGV[1]), tonumber(ARGV[2])
local WIDTH = { completed = 5, failed = 8, retry = 7, delayed = 8, waiting = 3, children = 4 }

-- Where each outcome begins, and everything that can be read for all of them at once.
local starts, locks, lock_keys, family_keys = {}, {}, {}, {}
do
  local at = 9
  while ARGV[at] do
    local job = base .. ARGV[at + 1]
    starts[#starts + 1] = at
    lock_keys[#lock_keys + 1] = job .. ":lock"
    if ARGV[at] == "completed" then
      family_keys[#family_keys + 1] = job .. ":dependencies"
      family_keys[#family_keys + 1] = job .. ":unsuccessful"
    end
    at = at + WIDTH[ARGV[at]]
  end
  if #lock_keys > 0 then
    locks = call("MGET", unpack(lock_keys))
    -- As in `settings`: a key of a wrong type is met before anything is written.
    call("SCARD", base .. "stalled")
    call("ZCARD", base .. "completed")
    call("ZCARD", base .. "failed")
    call("ZCARD", base .. "waiting-children")
  end
  if want > 0 or settings.max then call("STRLEN", base .. "limiter") end
  if ARGV[8] ~= "" then
    for _, kind in ipairs({ "completed", "failed" }) do
      call("HLEN", base .. "metrics:" .. kind)
      call("LLEN", base .. "metrics:" .. kind .. ":data")
    end
  end
end
local families = #family_keys > 0 and call("EXISTS", unpack(family_keys)) > 0

local codes, unlocked, freed = {}, {}, {}
local finished = { completed = {}, failed = {} }
local counts = { completed = 0, failed = 0 }
local run = {}
local settled, trimmed = 0, false

-- The finished jobs of one retention rule in a row are recorded together.
local function record(kind)
  local pending = finished[kind]
  if #pending == 0 then return end
  call("ZADD", base .. kind, unpack(pending))
  finished[kind] = {}
  retain(base .. kind, run[kind], now)
end

local function refusal(kind, job, token, lock, child)
  local held = redis.pcall("HMGET", job, "ats", "atm", "parentKey", "deid", "priority")
  if held.err then return WRONG_TYPE end
  if held[3] then
    held.parent = parent_of(job)
    if held.parent and not is_sound(held.parent) then return WRONG_TYPE end
  end
  if held[4] and not can_end_deduplication(held[4]) then return WRONG_TYPE end
  if not held[1] and call("EXISTS", job) == 0 then return MISSING_JOB end
  if kind == "children" or kind == "completed" and families then
    local pending, failed = redis.pcall("SCARD", job .. ":dependencies"), redis.pcall("ZCARD", job .. ":unsuccessful")
    if type(pending) ~= "number" or type(failed) ~= "number" then return WRONG_TYPE end
    if kind == "completed" and pending > 0 then return PENDING_DEPENDENCIES end
    if failed > 0 then return FAILED_CHILDREN end
    if kind == "children" then
      if pending == 0 then return 1 end
      if child ~= "" and call("SISMEMBER", job .. ":dependencies", child) == 0 then return 1 end
    end
  end
  if token ~= "0" and lock ~= token then return lock and LOCK_MISMATCH or MISSING_LOCK end
  return nil, held
end

local function write_reason(job, reason, stacktrace, tm)
  if reason == "" then return end
  call("HSET", job, "failedReason", reason, "stacktrace", stacktrace)
  if tm ~= "" then call("HSET", job, "tm", tm) end
end

local function finish(kind, id, job, held, value, keep, field)
  if not trimmed then
    keep_cap()
    trim_events()
    trimmed = true
  end
  if held[4] then end_deduplication(id, held[4], now) end
  if held.parent then
    if kind == "completed" then
      child_completed(held.parent, job, value, now)
    else
      child_failed(held.parent, job, value, now)
    end
  end
  local attempts = (tonumber(held[2] or "") or 0) + 1
  if keep == "0" then
    delete_jobs({ job })
    if held[3] then detach(job, held[3]) end
  else
    local rule = retention(keep)
    if run[kind] ~= rule then record(kind) end
    run[kind] = rule
    local pending = finished[kind]
    pending[#pending + 1] = ARGV[1]
    pending[#pending + 1] = id
    call("HSET", job, field, value, "finishedOn", ARGV[1], "atm", digits(attempts))
    if kind == "failed" then call("HDEL", job, "defa") end
  end
  call("XADD", EVENTS, "*", "event", kind, "jobId", id, field, value, "prev", "active")
  counts[kind] = counts[kind] + 1
  return attempts
end

local apply = {}

function apply.completed(id, job, held, at)
  finish("completed", id, job, held, ARGV[at + 3], ARGV[at + 4], "returnvalue")
end

function apply.failed(id, job, held, at)
  local reason, limit = ARGV[at + 3], tonumber(ARGV[at + 6])
  if ARGV[at + 5] ~= "0" then write_reason(job, reason, ARGV[at + 4], ARGV[at + 7]) end
  local attempts = finish("failed", id, job, held, reason, ARGV[at + 5], "failedReason")
  if attempts >= limit then
    call("XADD", EVENTS, "*", "event", "retries-exhausted", "jobId", id, "attemptsMade", digits(attempts))
  end
end

function apply.retry(id, job, held, at)
  promote_due(now)
  write_reason(job, ARGV[at + 3], ARGV[at + 4], ARGV[at + 6])
  local priority = tonumber(held[5] or "") or 0
  if priority == 0 then
    call(ARGV[at + 5] == "1" and "RPUSH" or "LPUSH", WAIT, id)
  else
    call("ZADD", PRIORITIZED, digits(priority_score(priority)), id)
  end
  wake()
  call("HINCRBY", job, "atm", "1")
  keep_cap()
  call("XADD", EVENTS, "MAXLEN", "~", settings.cap, "*", "event", "waiting", "jobId", id, "prev", "active")
end

function apply.delayed(id, job, _, at)
  write_reason(job, ARGV[at + 3], ARGV[at + 4], ARGV[at + 7])
  local due = due_time(now, tonumber(ARGV[at + 5]))
  local score = delayed_score(due)
  if ARGV[at + 6] == "1" then call("HINCRBY", job, "atm", "1") end
  call("HSET", job, "delay", ARGV[at + 5])
  call("ZADD", DELAYED, digits(score), id)
  keep_cap()
  call("XADD", EVENTS, "MAXLEN", "~", settings.cap, "*", "event", "delayed", "jobId", id, "delay", digits(due))
  wake_when_due()
end

function apply.waiting(id, _, held)
  local priority = tonumber(held[5] or "") or 0
  if priority > 0 then
    call("ZADD", PRIORITIZED, digits(priority * 4294967296), id)
  else
    call("RPUSH", WAIT, id)
    wake()
  end
  keep_cap()
  call("XADD", EVENTS, "MAXLEN", "~", settings.cap, "*", "event", "waiting", "jobId", id, "prev", "active")
end

function apply.children(id)
  call("ZADD", base .. "waiting-children", ARGV[1], id)
  call("XADD", EVENTS, "*", "event", "waiting-children", "jobId", id, "prev", "active")
end

for i, at in ipairs(starts) do
  local kind, id, token = ARGV[at], ARGV[at + 1], ARGV[at + 2]
  local job = base .. id
  local code, held = refusal(kind, job, token, locks[i], kind == "children" and ARGV[at + 3])
  if not code and call("LREM", ACTIVE, "-1", id) == 0 then code = NOT_IN_STATE end
  if code then
    codes[i] = code
  else
    codes[i] = OK
    settled = settled + 1
    if token ~= "0" then
      unlocked[#unlocked + 1] = lock_keys[i]
      freed[#freed + 1] = id
    end
    apply[kind](id, job, held, at)
  end
end
if #unlocked > 0 then
  call("DEL", unpack(unlocked))
  call("SREM", base .. "stalled", unpack(freed))
end
record("completed")
record("failed")
if ARGV[8] ~= "" then
  for kind, n in pairs(counts) do
    if n > 0 then count_finished(kind, n, tonumber(ARGV[8]), now) end
  end
end

local jobs, limited, due, ghosts, shut = {}, 0, 0, {}, false
if want > 0 then
  jobs, limited, due, ghosts, shut = take({
    now = now, want = want, token = ARGV[3], lock_ms = ARGV[4], worker = ARGV[5],
    limit_max = tonumber(ARGV[6]), limit_duration = tonumber(ARGV[7]),
  })
end
if counts.completed + counts.failed > 0 and #jobs == 0 and limited == 0 and due == 0 and not shut
  and call("LLEN", WAIT) == 0 and call("LLEN", ACTIVE) == 0 and call("ZCARD", PRIORITIZED) == 0 then
  call("XADD", EVENTS, "*", "event", "drained")
end
local ttl = 0
for _, at in ipairs(starts) do
  if ARGV[at] == "waiting" then
    ttl = math.max(0, call("PTTL", base .. "limiter"))
    break
  end
end
return { codes, jobs, limited, digits(math.floor(due)), ghosts, ttl }
