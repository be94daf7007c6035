-- Reads the queue's settings once. It also reads every other key that a call may write, so that a key of a wrong type
-- fails the whole call before the first write.
local function read_settings()
  local held = call("HMGET", META, "paused", "concurrency", "max", "duration", "opts.maxLenEvents",
    "version")
  call("LLEN", WAIT)
  call("LLEN", ACTIVE)
  call("ZCARD", PRIORITIZED)
  call("ZCARD", MARKER)
  call("STRLEN", PC)
  local read = {
    paused = held[1], concurrency = held[2] and tonumber(held[2]), max = held[3] and tonumber(held[3]),
    duration = held[4] and tonumber(held[4]), has_cap = held[5],
    is_complete = held[5] and held[6] and true, cap = held[5] or DEFAULT_CAP,
    events = call("XLEN", EVENTS), any_delayed = call("ZCARD", DELAYED) > 0,
  }
  -- A concurrency or maximum that is no number is ignored; tonumber accepts "nan".
  if read.concurrency ~= read.concurrency then read.concurrency = nil end
  if read.max ~= read.max then read.max = nil end
  -- A cap that cannot be read must not stop the queue: the default is used.
  if #read.cap > 15 or not string.find(read.cap, "^%d+$") then read.cap = DEFAULT_CAP end
  return read
end
local settings = read_settings()

-- Writes the cap of the event stream to `meta`, where Node expects it as soon as anything was written.
local function keep_cap()
  if not settings.has_cap then
    call("HSET", META, "opts.maxLenEvents", settings.cap)
    settings.has_cap = true
  end
end

-- Trims the event stream if it exceeds its cap after at most `more` new events.
local function trim_events(more)
  if settings.events + more > tonumber(settings.cap) then call("XTRIM", EVENTS, "MAXLEN", "~", settings.cap) end
end

-- Returns how many more jobs may become active: 0 while paused, else what the global concurrency leaves.
local function headroom()
  if settings.paused then return 0 end
  if not settings.concurrency then return math.huge end
  return math.max(0, settings.concurrency - call("LLEN", ACTIVE))
end
