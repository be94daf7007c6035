--[[ recover_stalled: put active jobs without a lock back, if they were active at the last check; mark the active ones.

KEYS    1 base      "<prefix>:<queue>:"
ARGV    1 now       ms, the caller's clock
        2 interval  ms; no worker begins another check in this time
        3 limit     how often a job may stall; then the next worker that takes it fails it
        4 from      empty for a new check; else the first value of the previous call's answer
RETURN  array: where the check goes on, empty when it is complete; then the recovered ids
EVENTS  waiting, stalled
USES    codes, queue, settings, wake, prioritize, ready, leave_active
COST    looks at 150 marked jobs with one EXISTS, five commands for each recovered; then marks 2,000 active jobs
]]
local stalled, check = base .. "stalled", base .. "stalled-check"
call("SCARD", stalled)
local from = ARGV[4]
if from == "" then
  local left = call("PTTL", check)
  if left >= 0 then return { "" } end
  -- A key without an expiry would block all later checks. A key of another type is not ours to overwrite.
  if left == -1 then call("STRLEN", check) end
  -- A full server before version 7 refuses a script whose first write takes memory, and none that begins by freeing some.
  call("DEL", check)
  call("SET", check, ARGV[1], "PX", ARGV[2])
end
keep_cap()
trim_events(0)

-- Runs of a scheduler may stall any number of times: failing one would not help the next.
local function has_live_scheduler(scheduler)
  if not scheduler then return false end
  if call("EXISTS", base .. "repeat:" .. scheduler) == 1 then return true end
  return type(redis.pcall("ZSCORE", base .. "repeat", scheduler)) == "string"
end

local function recover(id)
  local job = base .. id
  -- An id without a job cannot run; it is only removed from the list.
  if call("TYPE", job).ok ~= "hash" then return false end
  local stalls = redis.pcall("HINCRBY", job, "stc", "1")
  if type(stalls) ~= "number" then
    -- A counter that is no number counts as 0, and does not keep other jobs from being recovered.
    stalls = 1
    call("HSET", job, "stc", "1")
  end
  if stalls > tonumber(ARGV[3]) and not has_live_scheduler(call("HGET", job, "rjk")) then
    call("HSET", job, "defa", "job stalled more than allowable limit")
  end
  put_first(id, 0)
  call("XADD", EVENTS, "*", "event", "waiting", "jobId", id, "prev", "active")
  call("XADD", EVENTS, "*", "event", "stalled", "jobId", id)
  return true
end

-- First look at those that were active at the last check. A job that still runs is marked again below.
local reply = { "" }
if from == "" or from == "marked" then
  local marked, dead, locks = call("SPOP", stalled, "150"), {}, {}
  for i, id in ipairs(marked) do locks[i] = base .. id .. ":lock" end
  -- In most checks all of them still run, which a single EXISTS tells.
  if #locks > 0 and call("EXISTS", unpack(locks)) < #locks then
    for i, id in ipairs(marked) do
      if string.sub(id, 1, 2) == "0:" or call("EXISTS", locks[i]) == 0 then dead[#dead + 1] = id end
    end
    local was_active = leave_active(dead, #dead)
    for _, id in ipairs(dead) do
      if string.sub(id, 1, 2) ~= "0:" and was_active[id] then
        if recover(id) then
          reply[#reply + 1] = id
        else
          wake_for_place()
        end
      end
    end
  end
  if call("SCARD", stalled) > 0 then
    reply[1] = "marked"
    return reply
  end
  from = "0"
end

-- Then mark all that are active now.
local active = call("LRANGE", ACTIVE, from, digits(from + 1999))
if #active > 0 then call("SADD", stalled, unpack(active)) end
if #active == 2000 then reply[1] = digits(from + 2000) end
return reply
