-- What `meta` says, read once. Reading every kind of key first also means that a key of a wrong type fails the
-- whole call before anything is written.
local settings = call("HMGET", META, "paused", "concurrency", "max", "duration", "opts.maxLenEvents")
call("LLEN", WAIT)
call("LLEN", ACTIVE)
call("ZCARD", PRIORITIZED)
call("ZCARD", MARKER)
settings.events = call("XLEN", EVENTS)
call("STRLEN", PC)
settings.any_delayed = call("ZCARD", DELAYED) > 0
settings.paused = settings[1]
settings.concurrency = settings[2] and tonumber(settings[2])
settings.max = settings[3] and tonumber(settings[3])
settings.duration = settings[4] and tonumber(settings[4])
settings.cap = settings[5] or "10000"
if not string.find(settings.cap, "^%d+$") then error("meta: opts.maxLenEvents is not a length") end

-- Node expects the cap of the event stream to stand in `meta` once anything was written.
local function keep_cap()
  if not settings[5] then
    call("HSET", META, "opts.maxLenEvents", settings.cap)
    settings[5] = settings.cap
  end
end

-- Makes room in the event stream, which has at most so many more by now; one within its cap needs none.
local function trim_events(more)
  if settings.events + more > tonumber(settings.cap) then call("XTRIM", EVENTS, "MAXLEN", "~", settings.cap) end
end

-- How many more jobs may become active: none while paused, up to the global concurrency otherwise.
local function headroom()
  if settings.paused then return 0 end
  if not settings.concurrency then return math.huge end
  return math.max(0, settings.concurrency - call("LLEN", ACTIVE))
end
