--[[ advance_scheduler: make the next run of a job scheduler, on behalf of the worker that took the current one.

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
        11 legacy    "1" if the id may be the key of a repeatable job of old versions
        12 revives   "1" if the producer was not taken: it must be gone, or have ended; may be left out
RETURN  {outcome, id}
        outcome 0 created  1 the id of the next run is taken: the chain stops  2 nothing to do: the scheduler is gone,
        or this producer is not its current run  3 a repeatable job of old versions  4 neither interval nor slot
EVENTS  added, waiting, delayed, duplicated
USES    codes, queue, settings, wake, number, announce, delay, prioritize, ready, store, iteration
COST    a dozen commands
]]
local scheduler, producer, now = ARGV[1], ARGV[2], tonumber(ARGV[3])
local entry = base .. "repeat:" .. scheduler

-- Everything is read before the first write, so that a key of a wrong type or content changes nothing.
local held = call("HMGET", entry, "name", "data", "every", "offset", "ic")
local prev = call("ZSCORE", base .. "repeat", scheduler)
local function is_counter(text)
  return not text or #text < 19 and string.find(text, "^%-?%d+$")
end
if not is_counter(held[5]) or not is_counter(call("GET", base .. "id")) then
  return redis.error_reply("WRONGTYPE a counter is no number")
end
if ARGV[11] == "1" and not held[5] then return { 3, "" } end
if not prev or producer ~= "repeat:" .. scheduler .. ":" .. prev then return { 2, "" } end

if ARGV[12] == "1" and call("EXISTS", base .. producer) == 1
  and not (call("ZSCORE", base .. "completed", producer) or call("ZSCORE", base .. "failed", producer)) then
  return { 2, "" }
end

local every, slot = tonumber(held[3] or ARGV[5]), tonumber(ARGV[4])
if every and every > 0 then slot = slot_after(tonumber(prev), every, now, number_of(held[4] or ARGV[6])) end
if not slot or slot ~= slot or math.abs(slot) > MOST then return { 4, "" } end

local id = "repeat:" .. scheduler .. ":" .. digits(slot)
local found, name, data, adopted = call("TYPE", base .. id).ok, held[1] or "", held[2], nil
if not data and not held[5] then
  -- A repeatable job of version 5 has its data nowhere but in its runs.
  adopted = call("HGET", base .. producer, "data")
  if adopted == "{}" then adopted = nil end
end
keep_cap()
if found ~= "none" then
  announce("duplicated", id)
  return { 1, id }
end

if adopted then call("HSET", entry, "data", adopted) end
call("HINCRBY", entry, "ic", "1")
store_iteration(scheduler, slot, now, {
  name = name, data = data or adopted or "{}", opts = ARGV[7], priority = ARGV[8], lifo = ARGV[9], deid = ARGV[10],
})
return { 0, id }
