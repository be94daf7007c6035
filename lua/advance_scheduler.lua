--[[ advance_scheduler: create the next run of a job scheduler, for the worker that took the current run.

KEYS    1 base       "<prefix>:<queue>:", which every key of the queue begins with
ARGV    1 scheduler  its id
        2 producer   id of the job that was taken
        3 now        ms, the caller's clock
        4 slot       ms of the next run, by the pattern; empty with an interval
        5 every      ms, by the options of the producer; empty with a pattern
        6 offset     ms, by the options of the producer; may be empty
        7 opts       options of the next run as JSON, an object without `delay` and `jobId`, and not empty
        8 priority   of the next run
        9 lifo       "1" or "0"
        10 deid      its deduplication id; may be empty
        11 legacy    "1" if the id may be the key of a repeatable job of an old BullMQ version
        12 revives   "1" to revive a stopped scheduler: the producer must be gone or finished; "2" to put back the
                     producer itself, which must be gone; may be left out
        13 catch up  how many missed slots are made up; may be left out
        14 token     of the producer, if runs must not overlap: it is removed without being run while an earlier
                     run has not finished; empty otherwise, may be left out
        15 last      "1" if there is no next run; may be left out
RETURN  {outcome, id}, and one value more, 1, if the scheduler exists and the settings of the queue were not complete: it
        had no version, or no cap of the event stream and has the default one now
        outcome 0 created  1 a job has the id of the next run, so the scheduler stops  2 nothing to do: the scheduler was
        removed, or this producer is not its current run  3 a repeatable job of an old version  4 neither interval nor
        slot is known  5 the producer was removed because an earlier run has not finished; the next run was created,
        unless this was the last
EVENTS  added, waiting, delayed, duplicated, removed
USES    codes, queue, settings, wake, number, announce, is_job, delete, delay, prioritize, ready, store, scheduled_run
COST    a dozen commands; if runs must not overlap, also a read of the whole list of active jobs
]]
local scheduler, producer, now = ARGV[1], ARGV[2], tonumber(ARGV[3])
local entry = base .. "repeat:" .. scheduler

-- Everything is read before the first write, so that a key of a wrong type or content changes nothing.
local held = call("HMGET", entry, "name", "data", "every", "offset", "ic", "running")
local prev = call("ZSCORE", base .. "repeat", scheduler)
local function is_counter(text)
  return not text or #text < 19 and string.find(text, "^%-?%d+$")
end
if not is_counter(held[5]) or not is_counter(call("GET", base .. "id")) then
  return redis.error_reply("WRONGTYPE a counter is no number")
end
if ARGV[11] == "1" and not held[5] then return { 3, "" } end
local token = ARGV[14] or ""
-- An earlier call whose reply was lost may have done the work, so this is said with every outcome.
local function answer(outcome, id)
  return { outcome, id, prev and not settings.is_complete and 1 or nil }
end
if not prev or producer ~= "repeat:" .. scheduler .. ":" .. prev then
  -- An earlier call whose reply was lost has removed it.
  if token ~= "" and call("EXISTS", base .. producer) == 0 then return answer(5, "") end
  return answer(2, "")
end

local puts_back = ARGV[12] == "2"
if puts_back and is_job(base .. producer) ~= false then return { 2, "" } end
if ARGV[12] == "1" and is_job(base .. producer) ~= false
  and not (call("ZSCORE", base .. "completed", producer) or call("ZSCORE", base .. "failed", producer)) then
  return { 2, "" }
end

-- Returns whether a run that was started has not finished: it waits to be tried again. (`is_overlapping` looks for
-- active ones.)
local function is_unfinished(id)
  if not is_job(base .. id) or call("ZSCORE", base .. "completed", id) or call("ZSCORE", base .. "failed", id) then
    return false
  end
  for _, zset in ipairs({ DELAYED, PRIORITIZED, base .. "waiting-children" }) do
    if call("ZSCORE", zset, id) then return true end
  end
  return call("LPOS", WAIT, id) or call("LPOS", base .. "paused", id)
end

-- Returns whether this is the id of another run of the scheduler. A BullMQ worker does not record which run it has
-- started, so all active jobs are looked at.
local function is_earlier_run(id)
  local mark = "repeat:" .. scheduler .. ":"
  return id ~= producer and string.sub(id, 1, #mark) == mark and not string.find(id, ":", #mark + 1, true)
end
-- Returns whether another run of the scheduler has been started and has not finished.
local function is_overlapping()
  for _, id in ipairs(call("LRANGE", ACTIVE, "0", "-1")) do
    if is_earlier_run(id) then return true end
  end
  return held[6] and held[6] ~= producer and is_unfinished(held[6])
end
local lock = base .. producer .. ":lock"
local skips = token ~= "" and call("GET", lock) == token and is_overlapping()

-- Removes the current run without running it.
local function remove_producer()
  call("LREM", ACTIVE, "-1", producer)
  call("DEL", lock)
  delete_jobs({ base .. producer })
  announce("removed", producer, "prev", "active")
  wake_for_place()
end

if ARGV[15] == "1" then
  if skips then
    remove_producer()
    return answer(5, "")
  end
  return answer(2, "")
end

local every, slot = tonumber(held[3] or ARGV[5]), tonumber(ARGV[4])
if puts_back then
  slot = tonumber(prev)
elseif every and every > 0 then
  slot = slot_after(tonumber(prev), every, now, number_of(held[4] or ARGV[6]), tonumber(ARGV[13] or "0"))
end
if not slot or slot ~= slot or math.abs(slot) > MOST then return { 4, "" } end

local id = "repeat:" .. scheduler .. ":" .. digits(slot)
local found, name, data, adopted = call("TYPE", base .. id).ok, held[1] or "", held[2], nil
if not data and not held[5] then
  -- A repeatable job of version 5 has its data only in its runs.
  adopted = call("HGET", base .. producer, "data")
  if adopted == "{}" then adopted = nil end
end
keep_cap()
if found ~= "none" then
  announce("duplicated", id)
  return answer(1, id)
end
if token ~= "" and not skips then call("HSET", entry, "running", producer) end

if adopted then call("HSET", entry, "data", adopted) end
-- A run that is put back was counted when it was made.
if not puts_back then call("HINCRBY", entry, "ic", "1") end
store_run(scheduler, slot, now, {
  name = name, data = data or adopted or "{}", opts = ARGV[7], priority = ARGV[8], lifo = ARGV[9], deid = ARGV[10],
})
if skips then
  remove_producer()
  return answer(5, id)
end
return answer(0, id)
