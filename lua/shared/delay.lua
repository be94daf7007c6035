-- The score of a job due at `due` ms: first come, first served. The places that this call has given in a queue are
-- remembered, so that a batch may write them all at once.
local function delayed_score(due)
  local last_place = settings.last_place or {}
  settings.last_place = last_place
  local low, high = due * PLACES, (due + 1) * PLACES - 1
  local top = last_place[due]
  if not top then
    local found = call("ZREVRANGEBYSCORE", DELAYED, digits(high), digits(low), "WITHSCORES", "LIMIT", "0", "1")
    top = tonumber(found[2] or "")
  end
  local score = not top and low or math.min(top + 1, high)
  last_place[due] = score
  return score
end

-- When a job with this delay, counted from `from`, is due; a delay of nothing or less means now.
local function due_time(from, delay)
  return delay > 0 and from + delay or from
end

-- Lets an id wait until `due` ms, and tells so. One that is delayed already goes behind those of its new millisecond.
local function put_delayed(id, due)
  call("ZADD", DELAYED, digits(delayed_score(due)), id)
  settings.any_delayed = true
  call("XADD", EVENTS, "MAXLEN", "~", settings.cap, "*", "event", "delayed", "jobId", id, "delay", digits(due))
  wake_when_due()
end
