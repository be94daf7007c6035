-- The score of a delayed job is the ms at which it is due times PLACES, and its place among those of that millisecond.
local PLACES = 4096

-- Markers: "0" says that there may be something to fetch, "1" when the next delayed job is due. `anyway` leaves out the
-- question whether a worker could take it.
local function wake(anyway)
  if anyway or headroom() > 0 then call("ZADD", MARKER, "0", "0") end
end

-- A job that is active no more leaves a place under the global concurrency; without one there always was one.
local function wake_for_place()
  if settings.concurrency and call("LLEN", WAIT) + call("ZCARD", PRIORITIZED) > 0 then wake() end
end

-- The earliest due time in ms, with the fraction that the order within a millisecond adds; nil if nothing is delayed.
local function next_due()
  local first = call("ZRANGE", DELAYED, "0", "0", "WITHSCORES")
  return first[2] and tonumber(first[2]) / PLACES
end

local function wake_when_due()
  local due = next_due()
  if due then call("ZADD", MARKER, digits(due), "1") end
end
