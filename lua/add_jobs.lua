--[[ add_jobs: add any number of jobs, in order, as if each were added alone.

KEYS    1 base      "<prefix>:<queue>:", which every key of the queue begins with
ARGV    1…          the jobs, one after the other, eight values each, but six where the traits are just w or l:
                    traits id name data opts timestamp [delay priority]
                    where an empty id asks for the queue's next number, and traits is made of letters:
                    one of  w wait  l wait, last in first out  p prioritized  d delayed  c waiting for children
                    and     P with a parent: two more values follow, its job key and the `parent` JSON
                            S with a scheduler: one more value, the field `rjk`
                            D deduplicated: three more values, its id, ttl in ms or empty, and letters:
                              e extend  r replace  k keepLastIfActive  s reschedule
RETURN  array, for each job in order: its id if it was created as asked, else three values: outcome, id, other
                    outcome 1 an existing job has this id  2 deduplicated  3 deduplicated, but set aside to
                    run after the active owner  4 created in place of the delayed job `other`
                    or a code below 0, with nothing changed
        and one value more, 1, if a job was added or exists, and the settings of the queue were not complete: it
        had no version, or no cap of the event stream and has the default one now. If they were, the short way returns
        the id by itself, since an array costs as much as a command
EVENTS  added, waiting, delayed, waiting-children, duplicated, deduplicated, removed
USES    codes, outcomes, queue, add_jobs/one, settings, wake, number, is_job, is_taken, past_taken, announce, delay,
        prioritize, ready, homes, job_key, release, delete, attach, dedup, read_linked, store, add_jobs/linked, placing
COST    per job: HSET, two XADD and its share of LPUSH or ZADD; at most 1,000 jobs
]]
-- Count the jobs, and find out whether any has a parent, a scheduler, a deduplication or children.
local args, total, has_parents, is_linked = ARGV, 0, false, false
do
  local arg = 1
  while args[arg] do
    local traits = args[arg]
    total = total + 1
    arg = arg + ((traits == "w" or traits == "l") and 6 or 8)
    if #traits > 1 or traits == "c" then
      is_linked = true
      if string.find(traits, "P", 1, true) then
        has_parents = true
        arg = arg + 2
      end
      if string.find(traits, "S", 1, true) then arg = arg + 1 end
      if string.find(traits, "D", 1, true) then arg = arg + 3 end
    end
  end
end
-- As in `read_settings`: a key of a wrong type fails the call before the first write.
local counter = call("GET", base .. "id")
if has_parents and counter and (#counter > 18 or not string.find(counter, "^%-?%d+$")) then
  error("the number of the last job cannot be read")
end
if is_linked then
  call("ZCARD", base .. "waiting-children")
  call("ZCARD", base .. "completed")
end

-- Every add that is not refused for its parent takes a number, even if it has an id. Without parents all numbers are
-- taken at once; they are unused, unless somebody changed the counter.
local numbers, keys, clash
if not has_parents then
  local before = call("INCRBY", base .. "id", total == 1 and "1" or digits(total)) - total
  numbers, keys = {}, {}
  for i = 1, total do
    local number = digits(before + i)
    numbers[i], keys[i] = number, base .. number
  end
  clash = call("EXISTS", unpack(keys)) > 0
end

-- Returns the number of the next add, and the key of a job with that number.
local turn = 0
local function next_number()
  turn = turn + 1
  if numbers then return numbers[turn], keys[turn] end
  local number = digits(call("INCR", base .. "id"))
  return number, base .. number
end

-- Returns an id that no job has, and its job key.
local function free_number()
  local id, key = next_number()
  if clash or not numbers then return on_demand().past_taken(id) end
  return id, key
end

local reply, n, arg, announced = {}, 0, 1, false
for _ = 1, total do
  local traits, id, name = args[arg], args[arg + 1], args[arg + 2]
  local outcome, other, width = CREATED, "", 8
  if #traits > 1 then
    outcome, id, other, width = on_demand().add_linked(arg, flush, next_number, free_number, place)
  else
    local key
    keep_cap()
    if id == "" then
      id, key = free_number()
    else
      next_number()
      key = base .. id
      local kind = call("TYPE", key).ok
      if kind == "hash" then
        if on_demand().is_taken(id, key) then outcome = EXISTING end
      elseif kind ~= "none" then
        outcome = WRONG_TYPE
      end
    end
    local timestamp, delay, priority = args[arg + 5], args[arg + 6], args[arg + 7]
    if traits == "w" or traits == "l" then delay, priority, width = "0", "0", 6 end
    if outcome == CREATED then
      call("HSET", key, "name", name, "data", args[arg + 3], "opts", args[arg + 4], "timestamp", timestamp,
        "delay", delay, "priority", priority)
      call("XADD", EVENTS, "*", "event", "added", "jobId", id, "name", name)
      place(traits, id, timestamp, delay, priority)
    elseif outcome == EXISTING then
      call("XADD", EVENTS, "*", "event", "duplicated", "jobId", id)
    end
  end
  announced = announced or outcome >= 0
  arg = arg + width
  if outcome == CREATED then
    n = n + 1
    reply[n] = id
  else
    reply[n + 1], reply[n + 2], reply[n + 3] = outcome, id, other
    n = n + 3
  end
end
flush()
if announced then trim_events(3 * total) end
if announced and not settings.is_complete then reply[n + 1] = 1 end
return reply
