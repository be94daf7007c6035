-- Returns the score of a job due at `due` ms, behind those of the same millisecond that are there. Scores given by this
-- call are remembered per queue, so that a batch can be written with one ZADD.
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

-- Returns when a job is due, `delay` ms after `from`. A delay of zero or less means at once.
local function due_time(from, delay)
  return delay > 0 and from + delay or from
end

-- Moves an id to `delayed` until `due` ms, and announces it. A delayed job gets a place behind those of its new
-- millisecond.
local function put_delayed(id, due)
  call("ZADD", DELAYED, digits(delayed_score(due)), id)
  settings.any_delayed = true
  call("XADD", EVENTS, "MAXLEN", "~", settings.cap, "*", "event", "delayed", "jobId", id, "delay", digits(due))
  wake_when_due()
end
