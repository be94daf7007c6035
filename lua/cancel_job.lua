--[[ cancel_job: fail a job that has not finished without another attempt, and ask a worker that runs it to stop.

KEYS    1 base    "<prefix>:<queue>:"
ARGV    1 id      the job
        2 reason  why, for people; not empty
RETURN  0 it has finished already  1 it runs, and its worker is asked to stop  2 it does not run, and will not
        MISSING_JOB  there is none
EVENTS  cancelling {jobId, reason} if it runs, waiting {jobId, prev} if it was delayed or waited for children
USES    codes, queue, settings, wake, number, announce, is_job, prioritize, ready
COST    about twelve commands; at 1,024 requests and at each doubling, also an HGETALL of them and an MGET per 1,000
]]
-- A request names an attempt by its token, and is deleted when that attempt ends. A worker of another library does not
-- delete it: then `sweep` does, or the expiry of the whole hash, which outlives the locks of all attempts in it.
local LIFE, CROWDED, CHUNK = 60000, 1024, 1000
local id, reason = ARGV[1], ARGV[2]
local job, requests = base .. id, base .. "oxmq:cancels"
if not is_job(job) then return MISSING_JOB end
if call("ZSCORE", base .. "completed", id) or call("ZSCORE", base .. "failed", id) then return 0 end
local token, many = call("GET", job .. ":lock"), call("HLEN", requests)
local is_delayed = call("ZSCORE", DELAYED, id)
local is_parent = call("ZSCORE", base .. "waiting-children", id)

-- Deletes the requests whose attempts no longer hold their locks. It runs when the number of requests has doubled, so
-- it costs each request little.
local function sweep()
  local held = call("HGETALL", requests)
  for first = 1, #held, 2 * CHUNK do
    local locks, ended, last = {}, {}, math.min(first + 2 * CHUNK - 1, #held)
    for i = first, last, 2 do locks[#locks + 1] = base .. held[i] .. ":lock" end
    for n, lock in ipairs(call("MGET", unpack(locks))) do
      local i = first + 2 * (n - 1)
      if not lock or string.sub(held[i + 1], 1, #lock + 1) ~= lock .. "\n" then ended[#ended + 1] = held[i] end
    end
    if #ended > 0 then call("HDEL", requests, unpack(ended)) end
  end
end

-- Whichever worker takes the job next fails it without running it, a BullMQ worker too.
call("HSET", job, "defa", reason)
if token then
  -- frexp gives 0.5 for powers of two only.
  if many >= CROWDED and math.frexp(many) == 0.5 then sweep() end
  call("HSET", requests, id, token .. "\n" .. reason)
  local life = math.max(0, call("PTTL", job .. ":lock")) + LIFE
  if life > call("PTTL", requests) then call("PEXPIRE", requests, digits(life)) end
  announce("cancelling", id, "reason", reason)
  return 1
end
if is_delayed then
  call("ZREM", DELAYED, id)
  call("HSET", job, "delay", "0")
elseif is_parent then
  call("ZREM", base .. "waiting-children", id)
else
  return 2
end
put_first(id, 0)
announce("waiting", id, "prev", is_delayed and "delayed" or "waiting-children")
return 2
