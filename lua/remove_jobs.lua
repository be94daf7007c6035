--[[ remove_jobs: remove the jobs of one state that match a filter, or move them to another queue.

KEYS    1 base      "<prefix>:<queue>:"
ARGV    1 target    base key of the queue to move them to; empty to remove them
        2…14        the request, as the piece `search` lists it
RETURN  as `scan_jobs`; the items are id and result in turn: OK for a removed job, the new id of a moved one as text, or
        NOT_IN_STATE for one that a worker runs, BELONGS_TO_SCHEDULER, PART_OF_FLOW, ID_TAKEN
EVENTS  cleaned {count} where jobs were removed; for a moved one removed {jobId, prev}, and in the other queue
        added {jobId, name} and waiting {jobId} or delayed {jobId, delay}
USES    codes, queue, settings, wake, announce, number, prioritize, delay, ready, homes, states, check_queue, job_key,
        release, delete, erase, cut, is_job, is_taken, past_taken, search
COST    as `scan_jobs`, and some ten commands for each job removed; of a list, one pass up to their positions
]]
local target, asked = ARGV[1], {}
for i = 1, SEARCH_FIELDS do asked[i] = ARGV[i + 1] end
local state = asked[1]
local key, is_list = base .. state, IS_LIST[state]
check_queue(base)
if target ~= "" then
  within(target, function()
    read_sets()
    local counter = call("GET", base .. "id")
    if counter and (#counter > 18 or not string.find(counter, "^%-?%d+$")) then
      error("the number of the last job cannot be read")
    end
  end)
end

local FAMILY = { ":dependencies", ":processed", ":failed", ":unsuccessful" }
local function is_of_a_flow(job, held)
  if held[1] and held[1] ~= "" then return true end
  for _, part in ipairs(FAMILY) do
    if call("EXISTS", job .. part) == 1 then return true end
  end
  return false
end

-- Returns the id for the target queue, or nil if a job has it. A number of the queue's counter would mean another job
-- there, so the target's next number is used.
local function id_in_target(id)
  if not string.find(id, "^%d+$") then return not is_taken(id, base .. id) and id or nil end
  return (past_taken(digits(call("INCR", base .. "id"))))
end

local going, items = {}, {}
local SCHEDULER = 3
local function refusal(id, held)
  if held[SCHEDULER] and held[SCHEDULER] ~= "" and is_pending_run(id) then return BELONGS_TO_SCHEDULER end
  if state == "active" and call("EXISTS", base .. id .. ":lock") == 1 then return NOT_IN_STATE end
  if target ~= "" and is_of_a_flow(base .. id, held) then return PART_OF_FLOW end
  return OK
end

local reply = search(asked, function(id, place)
  local held = look_up(id)
  local answer = refusal(id, held)
  if answer == OK then
    going[#going + 1] = { id = id, place = place, held = held, item = #items + 2 }
  end
  items[#items + 1], items[#items + 2] = id, answer
end)
reply[#reply + 1] = items
local length = reply[4]

-- Places the job under its new id as it was placed in its former queue.
local function arrive(job)
  local hash = base .. job.new_id
  call("HDEL", hash, "deid", "rjk")
  local stored = call("HMGET", hash, "name", "priority")
  call("XADD", EVENTS, "*", "event", "added", "jobId", job.new_id, "name", stored[1] or "")
  if state == "delayed" then
    put_delayed(job.new_id, math.floor(tonumber(job.place) / PLACES))
  elseif state == "completed" or state == "failed" then
    call("ZADD", base .. state, job.place, job.new_id)
  else
    -- Of a list, the youngest job is moved first, so the oldest ends up at the front.
    put_ready(job.new_id, number_of(stored[2]), is_list)
    announce("waiting", job.new_id)
  end
end

local function move(job)
  job.new_id = within(target, id_in_target, job.id)
  if not job.new_id then
    items[job.item] = ID_TAKEN
    return false
  end
  local from, to = base .. job.id, target .. job.new_id
  free_deduplication(job.id, job.held[2])
  call("RENAME", from, to)
  if call("EXISTS", from .. ":logs") == 1 then call("RENAME", from .. ":logs", to .. ":logs") end
  within(target, arrive, job)
  announce("removed", job.id, "prev", state)
  items[job.item] = job.new_id
  return true
end

local gone = {}
for _, job in ipairs(going) do
  if target == "" then
    erase(job.id, job.held)
    gone[#gone + 1] = job
  elseif move(job) then
    gone[#gone + 1] = job
  end
end
if #gone == 0 then return reply end

if is_list then
  -- Positions count from the right; the list is cut from the nearer end.
  local right, left, depth, height = {}, {}, 0, 0
  for _, job in ipairs(gone) do
    right[#right + 1], depth = -job.place, math.max(depth, job.place)
    left[#left + 1], height = length - job.place, math.max(height, length - job.place + 1)
  end
  if depth <= height then cut(key, true, depth, right) else cut(key, false, height, left) end
else
  local ids = {}
  for i, job in ipairs(gone) do ids[i] = job.id end
  call("ZREM", key, unpack(ids))
end
if target == "" then
  delete_erased()
  call("XADD", EVENTS, "*", "event", "cleaned", "count", digits(#gone))
end
if state == "active" then wake_for_place() end
return reply
