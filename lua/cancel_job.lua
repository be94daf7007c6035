--[[ cancel_job: let a job that has not finished fail without another attempt, and ask whoever runs it to stop.

KEYS    1 base    "<prefix>:<queue>:"
ARGV    1 id      the job
        2 reason  why, for people; not empty
RETURN  0 it has finished already  1 it runs, and its worker is asked  2 it does not run, and never will
        MISSING_JOB  there is none
EVENTS  cancelling {jobId, reason} of one that runs, waiting {jobId, prev}
USES    codes, queue, settings, wake, number, announce, is_job, prioritize, ready
COST    about ten commands
]]
-- Requests are taken within a second, or not at all: each carries the token of one attempt.
local LIFE, MOST_REQUESTS = "60000", 1000
local id, reason = ARGV[1], ARGV[2]
local job, requests = base .. id, base .. "oxmq:cancels"
if not is_job(job) then return MISSING_JOB end
if call("ZSCORE", base .. "completed", id) or call("ZSCORE", base .. "failed", id) then return 0 end
local token, many = call("GET", job .. ":lock"), call("HLEN", requests)
local is_delayed = call("ZSCORE", DELAYED, id)
local is_parent = call("ZSCORE", base .. "waiting-children", id)

-- Whoever takes the job next fails it unrun, be it by a worker of BullMQ.
call("HSET", job, "defa", reason)
if token then
  if many >= MOST_REQUESTS then call("DEL", requests) end
  call("HSET", requests, id, token .. "\n" .. reason)
  call("PEXPIRE", requests, LIFE)
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
