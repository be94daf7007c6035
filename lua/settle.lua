--[[ settle: apply the outcomes of any number of attempts, and hand out the next jobs, in one step.

KEYS    1 base      "<prefix>:<queue>:", which every key of the queue begins with
ARGV    1 now       ms, the caller's clock
        2 want      how many jobs to hand out; below 0: so many, but only if an outcome was accepted
        3 token     value of the locks of the jobs handed out; "0" for no lock
        4 lock_ms   how long that lock lives
        5 worker    name of the worker, written to `pb`; may be empty
        6 max       jobs per window of the worker's own limit; empty for none
        7 window    length of that window in ms; empty for none
        8 points    metrics: minutes to keep; empty for none
        9…          the outcomes, one after the other, each beginning with its kind:
            "done"      token made count, and count times: id value
            "ruled"     token made count keep, and count times: id value
            "completed" id token value keep
            "failed"    id token reason stacktrace keep attempts tm
            "retry"     id token reason stacktrace lifo tm
            "delayed"   id token reason stacktrace delay counts tm
            "waiting"   id token
            "children"  id token child
        "done" is for `count` completed jobs that are kept and own no deduplication; made is their new `atm`. "ruled" is
        the same for jobs under a rule that deletes some. keep is a rule of `retain`, lifo and counts are "1" or "0",
        delay is in ms, an empty reason writes nothing, and child is a job key, or empty for any child
RETURN  one flat array, since a nested array costs as much as a command: the jobs as `take` returns them; one code per
        outcome in order (OK, 1 for "children" with nothing pending, or why nothing was changed), but none if all are OK;
        the ghosts; the id of the newest event "completed" of a "done" or "active" that this call has written, or ""; for
        how many ms the limiter still runs; `limited` and `due` of `take`; the number of ghosts, and the number of codes.
        Without codes the reply ends with the id of that event if all that follows it is 0
EVENTS  completed, failed, retries-exhausted, waiting, delayed, waiting-children, active, drained, duplicated
USES    codes, queue, settle/one, settings, wake, settle/due, settle/leave, number, delay, prioritize, ready, delete,
        settle/promote, settle/put_back, settle/metrics, is_job, is_taken, past_taken, announce, store, homes, job_key,
        release, detach, settle/retain, settle/dedup_finish, settle/family, leave_active, settle/leave_any, settle/ends,
        settle/plain, settle/each, settle/batch, settle/alike, settle/take
COST    per job done: HEXISTS, HSET, XADD and its share of MGET, EXISTS, LRANGE, LTRIM, DEL, SREM, ZADD; per failed
        attempt: HMGET, HSET, one or two XADD and its share of MGET, LRANGE, LTRIM, DEL, SREM, LPUSH or ZADD; per other
        outcome: HMGET, LREM and the like; per job handed out: HLEN, HMGET, SET, XADD, HSET and its share of RPOP, LPUSH;
        at most 1,000 of either
]]
local now, want = tonumber(ARGV[1]), math.abs(tonumber(ARGV[2]))
local batch = read_batch(9)
if settings.max or ARGV[6] ~= "" then call("STRLEN", base .. "limiter") end
if ARGV[8] ~= "" then on_demand().read_metrics() end

-- `settled` counts the outcomes that were accepted, `ended` those of them that finished the job.
local codes, tally = {}, { settled = 0, ended = 0, completed = 0, failed = 0 }
-- A single job under a rule is left to `finish_each`, which announces what the rule releases in the order of Node.
if batch.any_done and not batch.families and (batch.total > 1 or not batch.any_ruled) then
  local finished = finish_alike(batch, codes)
  tally.settled, tally.ended, tally.completed = finished, finished, finished
end
if tally.settled < batch.total then on_demand().finish_each(batch, codes, tally) end
if ARGV[8] ~= "" then on_demand().count_ends(tally.completed, tally.failed, tonumber(ARGV[8]), now) end

local taken = { jobs = {}, limited = 0, due = 0, ghosts = {}, closed = false }
if want > 0 and (tally.settled > 0 or tonumber(ARGV[2]) > 0) then
  taken = take(ARGV[1], want, ARGV[3], ARGV[4], ARGV[5], ARGV[6], ARGV[7])
end
local reply = taken.jobs
local n, has_jobs = #reply, #reply > 0
-- A call that has handed out a job has written the marker already.
if tally.settled > 0 and not has_jobs then wake_for_place() end
if tally.ended > 0 and not has_jobs and taken.limited == 0 and taken.due == 0 and not taken.closed
  and call("LLEN", WAIT) == 0 and call("LLEN", ACTIVE) == 0 and call("ZCARD", PRIORITIZED) == 0 then
  call("XADD", EVENTS, "*", "event", "drained")
end
local ttl = batch.any_waiting and math.max(0, call("PTTL", base .. "limiter")) or 0
local ghosts = taken.ghosts
if tally.settled == batch.total and ttl == 0 and taken.limited == 0 and taken.due == 0 and #ghosts == 0 then
  reply[n + 1] = newest_event
  return reply
end
local told = tally.settled < batch.total and batch.total or 0
for i = 1, told do reply[n + i] = codes[i] end
n = n + told
for i = 1, #ghosts do reply[n + i] = ghosts[i] end
n = n + #ghosts
reply[n + 1], reply[n + 2], reply[n + 3], reply[n + 4], reply[n + 5], reply[n + 6]
  = newest_event, ttl, taken.limited, taken.due == 0 and 0 or digits(math.floor(taken.due)), #ghosts, told
return reply
