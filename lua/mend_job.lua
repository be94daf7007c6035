--[[ mend_job: mend what was found wrong with a job, if it still is wrong.

KEYS    1 base      "<prefix>:<queue>:"
ARGV    1 what      "id"     removes an id without a job from the list or set ARGV[3]
                    "lock"   deletes the lock of a job that is not active
                    "parts"  deletes the keys left of a job that does not exist
                    "owner"  ends a deduplication without a time to live whose job does not exist; ARGV[2] is its id
                    "active" moves a job that is active without a lock to the front of the queue
                    "lost"   adds a job that is in no list and no set to the one of its state: finished, waiting for
                             children, delayed, or ready
                    "parent" takes up to 1,000 children out of what a parent waits for, if none of them exists, and releases
                             the parent after the last one
                    "paused" moves 1,000 jobs that version 5 keeps in `paused` to `wait`, unless the queue is paused
        2 id        the job, or the deduplication id; empty for "paused"
        3 state     suffix of the key
        4 now       ms
RETURN  1 if it was mended, for "paused" the number of jobs moved; 0 if there was nothing to mend any more; 2 for a parent
        that waits for further children, which the next call looks at
EVENTS  waiting {jobId, prev} of a job that is ready again, delayed {jobId, delay} of one that is not due yet
USES    queue, settings, wake, number, prioritize, delay, announce, ready, states, whereabouts, delete, is_job
COST    some ten commands, and a search of the lists; up to 1,000 for "parent"
]]
local what, id, state, now = ARGV[1], ARGV[2], ARGV[3], ARGV[4]
local job = base .. id
for _, zset in ipairs(ZSETS) do call("ZCARD", base .. zset) end
call("LLEN", base .. "paused")

local function is_somewhere() return is_in_a_set(id) or is_in_a_list(id) end

local function make_ready(prev)
  local held = call("HMGET", job, "priority", "opts")
  put_ready(id, number_of(held[1]), true)
  note_ready(id, held[2], now)
  if prev then announce("waiting", id, "prev", prev) else announce("waiting", id) end
  return 1
end

if what == "id" then
  if is_job(job) ~= false then return 0 end
  return call(IS_LIST[state] and "LREM" or "ZREM", base .. state, unpack(IS_LIST[state] and { "0", id } or { id })) > 0
    and 1 or 0
elseif what == "lock" then
  if call("LPOS", ACTIVE, id) then return 0 end
  return call("DEL", job .. ":lock")
elseif what == "parts" then
  if is_job(job) ~= false then return 0 end
  local left = 0
  for _, part in ipairs(JOB_PARTS) do left = left + call("EXISTS", job .. part) end
  delete_jobs({ job })
  return left > 0 and 1 or 0
elseif what == "owner" then
  local key = base .. "de:" .. id
  local owner = call("GET", key)
  if not owner or call("PTTL", key) ~= -1 or is_job(base .. owner) ~= false then return 0 end
  call("DEL", key, base .. "dn:" .. id)
  return 1
elseif what == "active" then
  if not is_job(job) or call("EXISTS", job .. ":lock") == 1 or call("LREM", ACTIVE, "0", id) == 0 then return 0 end
  return make_ready("active")
elseif what == "lost" then
  if not is_job(job) or is_somewhere() then return 0 end
  local held = call("HMGET", job, "finishedOn", "returnvalue", "timestamp", "delay", "ats", "processedOn")
  -- A parent that has failed may have children that still run, so its own outcome is looked at first.
  if held[1] then
    call("ZADD", base .. (held[2] and "completed" or "failed"), digits(number_of(held[1])), id)
    return 1
  end
  if call("SCARD", job .. ":dependencies") > 0 then
    call("ZADD", base .. "waiting-children", digits(number_of(held[3] or now)), id)
    return 1
  end
  -- A ready job has a delay of 0: one with a delay was waiting for its time, since it was added or since its last
  -- attempt.
  local delay = number_of(held[4])
  if delay > 0 then
    local due = due_time(number_of(number_of(held[5]) > 0 and held[6] or held[3]), delay)
    if due > tonumber(now) then
      put_delayed(id, math.min(due, MOST))
      return 1
    end
    call("HSET", job, "delay", "0")
  end
  return make_ready()
elseif what == "parent" then
  local pending = job .. ":dependencies"
  if not is_job(job) or not call("ZSCORE", base .. "waiting-children", id) then return 0 end
  local children = call("SRANDMEMBER", pending, "1000")
  -- A child that exists again holds its parent back rightly.
  for _, child in ipairs(children) do
    if call("EXISTS", child) == 1 then return 0 end
  end
  if #children > 0 then call("SREM", pending, unpack(children)) end
  if call("EXISTS", pending) == 1 then return 2 end
  call("ZREM", base .. "waiting-children", id)
  return make_ready("waiting-children")
elseif what == "paused" then
  if call("HEXISTS", META, "paused") == 1 then return 0 end
  local ids = call("LRANGE", base .. "paused", "0", "999")
  if #ids == 0 then return 0 end
  call("RPUSH", WAIT, unpack(ids))
  call("LTRIM", base .. "paused", digits(#ids), "-1")
  wake(true)
  return #ids
end
return 0
