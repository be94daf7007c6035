-- The score of a delayed job is the ms at which it is due times PLACES, plus its place among those of that millisecond.
local PLACES = 4096

-- Writes the marker. Its member "0" tells workers that there may be a job to fetch, its member "1" when the next
-- delayed job is due. `anyway` skips the check whether the queue may start another job.
local function wake(anyway)
  if settings.is_awake then return end
  if anyway or headroom() > 0 then
    call("ZADD", MARKER, "0", "0")
    settings.is_awake = true
  end
end

-- Wakes a worker after a job has left `active`, which frees a place under the global concurrency. Without a global
-- concurrency no job waited for that place.
local function wake_for_place()
  if settings.concurrency and call("LLEN", WAIT) + call("ZCARD", PRIORITIZED) > 0 then wake() end
end

-- Returns when the next delayed job is due in ms, with a fraction for its place within the millisecond; nil if none is
-- delayed.
local function next_due()
  local first = call("ZRANGE", DELAYED, "0", "0", "WITHSCORES")
  return first[2] and tonumber(first[2]) / PLACES
end

-- Writes to the marker when the next delayed job is due.
local function wake_when_due()
  local due = next_due()
  if due then call("ZADD", MARKER, digits(due), "1") end
end
