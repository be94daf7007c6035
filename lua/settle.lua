--[[ settle: end any number of attempts, each in its own way, and hand out the next jobs in the same step.

KEYS    1 base      "<prefix>:<queue>:", which every key of the queue begins with
ARGV    1 now       ms, the caller's clock
        2 want      how many jobs to hand out; 0 for none, below 0 only if an outcome was accepted
        3 token     the lock of the jobs handed out; "0" for none
        4 lock_ms   how long that lock lives
        5 worker    name of the worker, written to `pb`; may be empty
        6 max       jobs per window of the worker's own limit; empty for none
        7 window    length of that window in ms; empty for none
        8 points    metrics: minutes to keep; empty for none
        9…          the outcomes, one after the other, each beginning with its kind:
            "done"      token made count, and count times: id value
            "completed" id token value keep
            "failed"    id token reason stacktrace keep attempts tm
            "retry"     id token reason stacktrace lifo tm
            "delayed"   id token reason stacktrace delay counts tm
            "waiting"   id token
            "children"  id token child
        where "done" is for completed jobs that are kept, hold no deduplication, and have `atm` made from now on; keep
        is a rule of `retain`, lifo and counts are "1" or "0", delay is in ms, an empty reason writes nothing, and child
        is a job key or empty for any child
RETURN  {codes, jobs, limited, next, ghosts, ttl}: one code per outcome in order (OK, 1 for "children" with nothing
        pending, or why nothing was changed), then what `take` answers, then the ms for which the limiter still runs
EVENTS  completed, failed, retries-exhausted, waiting, delayed, waiting-children, active, drained
USES    codes, queue, settle/one, settings, wake, leave_active, settle/due, number, announce, delay, prioritize, ready,
        store, settle/promote, homes, release, detach, delete, settle/retain, settle/family, settle/metrics,
        settle/dedup_finish, settle/ends, settle/take
COST    per job done: HEXISTS, HSET, XADD and its share of MGET, EXISTS, LRANGE, LTRIM, DEL, SREM, ZADD;
        per other completed job: HMGET, LREM and the like; per job handed out: HLEN, HMGET, SET, XADD, HSET and its
        share of RPOP, LPUSH; at most 1,000 of either
]]
local now, want = tonumber(ARGV[1]), math.abs(tonumber(ARGV[2]))
local WIDTH = { completed = 5, failed = 8, retry = 7, delayed = 8, waiting = 3, children = 4 }

-- The outcomes in order: of each where its id stands, its job, its lock and its token; and for one that is done `atm`
-- from now on, for any other nil. Of all together everything that can be read at once.
local places, jobs, lock_keys, tokens, made, total = {}, {}, {}, {}, {}, 0
local locks, families, went_back, any_done
do
  local at, family_keys, n = done_up_to + 1, {}, 0
  while ARGV[at] do
    local kind = ARGV[at]
    if kind == "done" then
      local token, count, last = ARGV[at + 1], ARGV[at + 2], at + 2 + 2 * tonumber(ARGV[at + 3])
      any_done = true
      for place = at + 4, last, 2 do
        local job = base .. ARGV[place]
        total = total + 1
        places[total], jobs[total], lock_keys[total] = place, job, job .. ":lock"
        tokens[total], made[total] = token, count
        family_keys[n + 1], family_keys[n + 2] = job .. ":dependencies", job .. ":unsuccessful"
        n = n + 2
      end
      at = last + 2
    else
      local job = base .. ARGV[at + 1]
      total = total + 1
      places[total], jobs[total], lock_keys[total], tokens[total] = at + 1, job, job .. ":lock", ARGV[at + 2]
      if kind == "completed" then
        family_keys[n + 1], family_keys[n + 2] = job .. ":dependencies", job .. ":unsuccessful"
        n = n + 2
      elseif kind == "waiting" then
        went_back = true
      end
      at = at + WIDTH[kind]
    end
  end
  if total > 0 then
    locks = call("MGET", unpack(lock_keys))
    families = n > 0 and call("EXISTS", unpack(family_keys)) > 0
    -- As in `settings`: a key of a wrong type is met before anything is written.
    call("SCARD", base .. "stalled")
    call("ZCARD", base .. "completed")
    call("ZCARD", base .. "failed")
    call("ZCARD", base .. "waiting-children")
  end
  if settings.max or ARGV[6] ~= "" then call("STRLEN", base .. "limiter") end
  if ARGV[8] ~= "" then on_demand().read_metrics() end
end

local codes, unlocked, freed, settled, ended, completed, failed = {}, {}, {}, 0, 0, 0, 0
if done_up_to > 8 then codes, settled, ended = { OK }, 1, 1 end
-- Completed and failed jobs, with their scores, that are not recorded yet, and the rule that keeps them.
local record = { completed = {}, failed = {}, alone = total == 1 }

-- An attempt that its worker has ended by finishing the job: the first one makes room in the event stream for all.
local function count_ended()
  ended = ended + 1
  if ended == 1 then
    keep_cap()
    trim_events(0)
  end
end

-- What nearly all jobs come to goes together: done, locked as they should be, and nobody's child or parent.
if any_done and not families then
  local plain, plain_jobs, ids, n = {}, {}, {}, 0
  for i = 1, total do
    if made[i] and locks[i] == tokens[i] then
      n = n + 1
      plain[n], plain_jobs[n] = i, jobs[i]
    end
  end
  if n > 0 and call("EXISTS", unpack(plain_jobs)) == n then
    local left = 0
    for k = 1, n do
      if redis.pcall("HEXISTS", plain_jobs[k], "parentKey") == 0 then
        left = left + 1
        plain[left], ids[left] = plain[k], ARGV[places[plain[k]]]
      end
    end
    local was_active, kept, finished_on = leave_active(ids, left), record.completed, ARGV[1]
    for k = 1, left do
      local id, i = ids[k], plain[k]
      if was_active[id] then
        was_active[id] = nil
        local job, value = jobs[i], ARGV[places[i] + 1]
        codes[i] = OK
        count_ended()
        unlocked[ended], freed[ended], kept[2 * ended - 1], kept[2 * ended]
          = lock_keys[i], id, finished_on, id
        call("HSET", job, "returnvalue", value, "finishedOn", finished_on, "atm", made[i])
        call("XADD", EVENTS, "*", "event", "completed", "jobId", id, "returnvalue", value, "prev", "active")
      end
    end
    settled, completed = ended, ended
  end
end

local function refusal(kind, job, token, lock, child)
  local held = redis.pcall("HMGET", job, "ats", "atm", "parentKey", "deid", "defa")
  if held.err then return WRONG_TYPE end
  if held[3] or held[4] or families or kind == "children" then
    local code = on_demand().family_refusal(kind, job, held, child, families)
    if code then return code end
  end
  if not held[1] and call("EXISTS", job) == 0 then return MISSING_JOB end
  if token ~= "0" and lock ~= token then return lock and LOCK_MISMATCH or MISSING_LOCK end
  return nil, held
end

-- The others one by one, each as it is written: what one does may be what the next one waits for.
for i = 1, total do
  if not codes[i] then
    local place, job, token = places[i], jobs[i], tokens[i]
    local kind, id = made[i] and "completed" or ARGV[place - 1], ARGV[place]
    local code, held = refusal(kind, job, token, locks[i], ARGV[place + 2])
    if not code and call("LREM", ACTIVE, "-1", id) == 0 then code = NOT_IN_STATE end
    codes[i] = code or OK
    if not code then
      settled = settled + 1
      if token ~= "0" then
        unlocked[#unlocked + 1], freed[#freed + 1] = lock_keys[i], id
      end
      if kind == "completed" then
        count_ended()
        completed = completed + 1
        local value, keep = ARGV[place + 1], "-1"
        if not made[i] then value, keep = ARGV[place + 2], ARGV[place + 3] end
        on_demand().finish(kind, id, job, held, value, keep, "returnvalue", record)
      elseif kind == "failed" then
        count_ended()
        failed = failed + 1
        on_demand().end_failed(id, job, held, place - 1, record)
      else
        on_demand()["end_" .. kind](id, job, place - 1, held)
      end
    end
  end
end
if #unlocked > 0 then
  call("DEL", unpack(unlocked))
  call("SREM", base .. "stalled", unpack(freed))
end
if record.rule or #record.failed > 0 then
  on_demand().flush(record, ARGV[1])
elseif #record.completed > 0 then
  call("ZADD", base .. "completed", unpack(record.completed))
end
if ARGV[8] ~= "" then on_demand().count_ends(completed, failed, tonumber(ARGV[8]), now) end

local handed, limited, due, ghosts, shut = {}, 0, 0, {}, false
if want > 0 and (settled > 0 or tonumber(ARGV[2]) > 0) then
  handed, limited, due, ghosts, shut = take(ARGV[1], want, ARGV[3], ARGV[4], ARGV[5], ARGV[6], ARGV[7])
end
-- Whoever was handed a job has written the marker.
if settled > 0 and #handed == 0 then wake_for_place() end
if ended > 0 and #handed == 0 and limited == 0 and due == 0 and not shut
  and call("LLEN", WAIT) == 0 and call("LLEN", ACTIVE) == 0 and call("ZCARD", PRIORITIZED) == 0 then
  call("XADD", EVENTS, "*", "event", "drained")
end
local ttl = went_back and math.max(0, call("PTTL", base .. "limiter")) or 0
return { codes, handed, limited, due == 0 and "0" or digits(math.floor(due)), ghosts, ttl }
