--[[ recover_stalled: put jobs back that are active without a lock since the last check, and mark the active ones.

KEYS    1 base      "<prefix>:<queue>:"
ARGV    1 now       ms, the caller's clock
        2 interval  ms; no other check of any worker runs in this time
        3 limit     how often a job may stall before it is failed by whoever fetches it next
RETURN  array of the recovered ids
EVENTS  waiting, stalled
USES    codes, queue, settings, wake
COST    two passes over the active jobs; recovered ones five commands each
]]
local stalled, check = base .. "stalled", base .. "stalled-check"
call("SCARD", stalled)
if call("EXISTS", check) == 1 then return {} end
call("SET", check, ARGV[1], "PX", ARGV[2])
keep_cap()
trim_events(0)

-- A scheduler's iterations may stall any number of times: failing one would not help the next.
local function has_live_scheduler(scheduler)
  if not scheduler then return false end
  return call("EXISTS", base .. "repeat:" .. scheduler) == 1 or call("ZSCORE", base .. "repeat", scheduler)
end

local function recover(id)
  local job = base .. id
  if call("EXISTS", job .. ":lock") == 1 then return false end
  if call("LREM", ACTIVE, "1", id) == 0 then return false end
  local is_job = call("TYPE", job).ok == "hash"
  -- What has no hash cannot run; it only leaves the list.
  if not is_job then return false end
  local stalls = call("HINCRBY", job, "stc", "1")
  if stalls > tonumber(ARGV[3]) and not has_live_scheduler(call("HGET", job, "rjk")) then
    call("HSET", job, "defa", "job stalled more than allowable limit")
  end
  call("RPUSH", WAIT, id)
  wake()
  call("XADD", EVENTS, "*", "event", "waiting", "jobId", id, "prev", "active")
  call("XADD", EVENTS, "*", "event", "stalled", "jobId", id)
  return true
end

local suspects, recovered = call("SMEMBERS", stalled), {}
if #suspects > 0 then call("DEL", stalled) end
local function look_at(id)
  if string.sub(id, 1, 2) == "0:" then
    call("LREM", ACTIVE, "1", id)
  elseif recover(id) then
    recovered[#recovered + 1] = id
  end
end
for from = 1, #suspects, 1000 do
  local to, locks = math.min(from + 999, #suspects), {}
  for i = from, to do locks[#locks + 1] = base .. suspects[i] .. ":lock" end
  -- Mostly all of them run on: then one question does.
  if call("EXISTS", unpack(locks)) < #locks then
    for i = from, to do look_at(suspects[i]) end
  end
end
local active = call("LRANGE", ACTIVE, "0", "-1")
for i = 1, #active, 5000 do
  call("SADD", stalled, unpack(active, i, math.min(i + 4999, #active)))
end
return recovered
