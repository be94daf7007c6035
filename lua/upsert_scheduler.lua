--[[ upsert_scheduler: create or change a job scheduler, and replace its next run.

KEYS    1 base       "<prefix>:<queue>:"
ARGV    1 scheduler  its id
        2 now        ms, the caller's clock
        3 slot       ms of the run, by the pattern; empty with an interval
        4 every      ms; empty with a pattern
        5 start      ms of the first run at an interval; may be empty
        6 offset     ms, as the caller gave it; may be empty
        7 name       of the runs
        8 data       of the runs, JSON
        9 opts       options of the run as JSON, an object without `delay`, `jobId` and `prevMillis`, and not empty
        10 priority  of the run
        11 lifo      "1" or "0"
        12 deid      its deduplication id; may be empty
        13 catch up  how many missed slots are made up
        14 ...       fields and values of the scheduler's hash besides `ic` and `offset`
RETURN  {outcome, slot, delay, new}
        new is 1 if the settings of the queue were not complete: it had no version, or no cap of the event stream
        outcome 0 stored; or SCHEDULER_JOB_EXISTS or SCHEDULER_SLOTS_BUSY, with nothing changed
EVENTS  added, waiting, delayed
USES    codes, queue, settings, wake, number, announce, delay, prioritize, ready, store, scheduled_run, states, homes,
        check_queue, job_key, release, delete, erase
COST    about twenty commands, up to 32 more where slots are taken, and a search of the lists if the pending run waits there
]]
local MOST_TAKEN = 32
local scheduler, now, slot, every = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
local start, offset, catch_up = tonumber(ARGV[5]), tonumber(ARGV[6]), tonumber(ARGV[13])
local entry = base .. "repeat:" .. scheduler

-- Everything is read before the first write, so that a refusal or a key of a wrong type changes nothing.
check_queue(base)
local held = call("HMGET", entry, "every", "offset", "ic", "running", "pattern", "tz", "hashSeed")
local prev = call("ZSCORE", base .. "repeat", scheduler)
local counter = call("GET", base .. "id") or "0"
if #counter > 18 or not string.find(counter, "^%-?%d+$") then
  return redis.error_reply("WRONGTYPE the counter is no number")
end

-- Where the next run is; nothing if there is none, or if a worker has taken it.
local pending = prev and "repeat:" .. scheduler .. ":" .. prev
local place, is_list, pending_fields
if pending and call("EXISTS", base .. pending) == 1 then
  for _, zset in ipairs({ DELAYED, PRIORITIZED }) do
    if call("ZSCORE", zset, pending) then place = zset end
  end
  -- BullMQ 5 keeps the jobs of a paused queue in the list `paused`.
  for _, list in ipairs(place and {} or { WAIT, base .. "paused" }) do
    if not place and call("LPOS", list, pending) then place, is_list = list, true end
  end
  if place then pending_fields = look_up(pending) end
end

-- The new `offset` of the scheduler's hash; nil keeps the present one.
local phase = every and offset
if every then
  local given = offset or 0
  if prev and tonumber(held[1] or "") == every and math.abs(tonumber(prev)) <= MOST then
    slot = slot_after(tonumber(prev), every, now, given, catch_up)
    if place then slot = tonumber(prev) end
  elseif start then
    slot = math.max(start, now)
  elseif given > 0 then
    slot = math.floor(now / every) * every + given
    if slot <= now then slot = slot + every end
  else
    slot = now
  end
  slot = math.floor(slot)
  if not place then phase = given ~= 0 and given or slot % every end
else
  if not place then phase = 0 end
  -- A run by the same pattern that is late and is to be made up keeps its time.
  if catch_up > 0 and place and tonumber(prev) <= now then
    local new = {}
    for i = 14, #ARGV, 2 do new[ARGV[i]] = ARGV[i + 1] end
    if held[5] == (new.pattern or false) and held[6] == (new.tz or false) and held[7] == (new.hashSeed or false) then
      slot = tonumber(prev)
    end
  end
end

local function id_at(due)
  return "repeat:" .. scheduler .. ":" .. digits(due)
end

-- Returns whether a job has the id of the new run, other than the run that is replaced.
local function is_busy(due)
  return not (place and id_at(due) == pending) and call("EXISTS", base .. id_at(due)) == 1
end

local finished, finished_fields
if every then
  local passed = 0
  while is_busy(slot) do
    if passed == MOST_TAKEN then return { SCHEDULER_SLOTS_BUSY, "", "", 0 } end
    slot, passed = slot + every, passed + 1
  end
elseif is_busy(slot) then
  -- A run that was promoted may have finished before its time.
  for _, state in ipairs({ "completed", "failed" }) do
    if place and call("ZSCORE", base .. state, id_at(slot)) then finished = state end
  end
  if not finished then return { SCHEDULER_JOB_EXISTS, "", "", 0 } end
  finished_fields = look_up(id_at(slot))
end

keep_cap()
if finished then
  call("ZREM", base .. finished, id_at(slot))
  erase(id_at(slot), finished_fields)
end
if place then
  if is_list then
    call("LREM", place, "1", pending)
  else
    call("ZREM", place, pending)
  end
  erase(pending, pending_fields)
end
delete_erased()

local kept = phase and digits(phase) or held[2]
call("DEL", entry)
local runs = held[3] and #held[3] < 19 and string.find(held[3], "^%-?%d+$") and held[3] or "1"
call("HSET", entry, "ic", runs, unpack(ARGV, 14))
if kept then call("HSET", entry, "offset", kept) end
if held[4] then call("HSET", entry, "running", held[4]) end
local opts = ARGV[9]
if not every then opts = string.sub(opts, 1, -2) .. ',"prevMillis":' .. digits(slot) .. "}" end
local delay = store_run(scheduler, slot, now, {
  name = ARGV[7], data = ARGV[8], opts = opts, priority = ARGV[10], lifo = ARGV[11], deid = ARGV[12],
})
return { 0, digits(slot), digits(delay), settings.is_complete and 0 or 1 }
