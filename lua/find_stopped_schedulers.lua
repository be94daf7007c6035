--[[ find_stopped_schedulers: find job schedulers that have stopped: their current run is over, and no next run exists.

KEYS    1 base      "<prefix>:<queue>:"
ARGV    1 now       ms, the caller's clock
        2 interval  ms in which only one call searches
        3 random    a whole number, 0 or more, that chooses where to begin if there are very many
RETURN  {id, slot, hash, id, slot, hash, ...}; a hash is an array of fields and values, empty if the run was put back;
        without an `offset` it has the options of the last run, where that is kept, as one more field `run`
EVENTS  waiting {jobId} for a run that was put back
USES    queue, is_job, settings, wake, number, prioritize, announce, ready, states, whereabouts
COST    up to six commands for each of at most 1,000 schedulers, of which at most 100 are returned; and for overdue runs
        without a lock a search of the sets and lists, of 100,000 elements at most
]]
local MOST_SEEN, MOST_FOUND, MOST_SEARCHED = 1000, 100, 100000
local zset, check, found = base .. "repeat", base .. "oxmq:schedulers-check", {}
if call("EXISTS", check) == 1 then return found end

-- Records what only the current run tells, while it exists. For a repeatable job of BullMQ 5, which no upsert has made
-- (that would have written `offset`), these are all options of the run, its limit among them. Otherwise it is when the
-- limit began to count: from the last upsert, while the counter `ic` counts from the first. An upsert deletes both.
local function record_run(scheduler, id)
  local entry = base .. "repeat:" .. scheduler
  local held = redis.pcall("HMGET", entry, "limit", "ic", "limitFrom", "offset", "lastRun")
  if held.err or not tonumber(held[2] or "") or held[4] and not held[1] then return end
  local opts = redis.pcall("HGET", base .. id, "opts")
  local is_read, run = pcall(cjson.decode, opts)
  local count = is_read and type(run) == "table" and type(run["repeat"]) == "table" and tonumber(run["repeat"].count)
  if not count then return end
  if not held[4] then
    if opts ~= held[5] then call("HSET", entry, "lastRun", opts) end
    return
  end
  local from = digits(tonumber(held[2]) - count)
  if from ~= (held[3] or "0") then call("HSET", entry, "limitFrom", from) end
end

-- Adds the options of the last run, as a field `run`, to the hash of a scheduler that no upsert has made: a repeatable job
-- of BullMQ 5 has its limit in its runs alone. An upsert writes `offset`.
local function add_run(hash, id)
  for i = 1, #hash, 2 do
    if hash[i] == "offset" then return end
  end
  local opts = redis.pcall("HGET", base .. id, "opts")
  if type(opts) == "string" then hash[#hash + 1], hash[#hash + 2] = "run", opts end
end

local past = call("ZCOUNT", zset, "-inf", ARGV[1])
local from = past > MOST_SEEN and tonumber(ARGV[3]) % past or 0
local seen = call("ZRANGEBYSCORE", zset, "-inf", ARGV[1], "WITHSCORES", "LIMIT", digits(from), digits(MOST_SEEN))
local overdue, checked = {}, {}
for i = 1, #seen, 2 do
  local scheduler, slot = seen[i], seen[i + 1]
  local id = "repeat:" .. scheduler .. ":" .. slot
  -- A run that has finished and is still the current one has no successor, unless it was the last: the hash tells.
  local is_over = is_job(base .. id) == false or call("ZSCORE", base .. "completed", id)
    or call("ZSCORE", base .. "failed", id)
  checked[#checked + 1], checked[#checked + 2] = scheduler, id
  if is_over then
    local hash = redis.pcall("HGETALL", base .. "repeat:" .. scheduler)
    if not hash.err and #hash > 0 then
      add_run(hash, id)
      found[#found + 1], found[#found + 2], found[#found + 3] = scheduler, slot, hash
    end
  elseif not call("ZSCORE", DELAYED, id) and call("EXISTS", base .. id .. ":lock") == 0 then
    overdue[#overdue + 1] = { scheduler = scheduler, slot = slot, id = id }
  end
  if #found >= 3 * MOST_FOUND then break end
end

-- A run that waits or is active creates the next one. A run in no list or set, as BullMQ's `drain` may leave it, is put
-- back where it would wait. Each list is searched from end to end, so with more than 100,000 jobs in the lists the run
-- has to wait until there are fewer; if there are many runs, the next call continues with others.
local function put_back_lost_runs()
  local family, searched = on_demand(), 0
  local length, first = family.elements_of_lists(), tonumber(ARGV[3])
  for i = 1, #overdue do
    local run = overdue[(first + i) % #overdue + 1]
    if searched + length > MOST_SEARCHED then break end
    searched = searched + length
    if is_job(base .. run.id) and not family.is_in_a_set(run.id) and not family.is_in_a_list(run.id) then
      local held = call("HMGET", base .. run.id, "priority", "opts")
      local readable, opts = pcall(cjson.decode, held[2] or "")
      family.put_ready(run.id, family.number_of(held[1]), readable and type(opts) == "table" and opts.lifo == true)
      family.note_ready(run.id, held[2], ARGV[1])
      family.announce("waiting", run.id)
      found[#found + 1], found[#found + 2], found[#found + 3] = run.scheduler, run.slot, {}
    end
  end
end
if #overdue > 0 then put_back_lost_runs() end
for i = 1, #checked, 2 do record_run(checked[i], checked[i + 1]) end
local rest = MOST_SEEN - #seen / 2
if rest > 0 then
  local due = call("ZRANGEBYSCORE", zset, "(" .. ARGV[1], "+inf", "WITHSCORES", "LIMIT", "0", digits(rest))
  for i = 1, #due, 2 do
    record_run(due[i], "repeat:" .. due[i] .. ":" .. due[i + 1])
  end
end
call("SET", check, "1", "PX", ARGV[2])
return found
