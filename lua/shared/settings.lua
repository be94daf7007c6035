-- What `meta` says, read once. Reading every kind of key first also means that a key of a wrong type fails the
-- whole call before anything is written.
local function read_settings()
  local held = call("HMGET", META, "paused", "concurrency", "max", "duration", "opts.maxLenEvents")
  call("LLEN", WAIT)
  call("LLEN", ACTIVE)
  call("ZCARD", PRIORITIZED)
  call("ZCARD", MARKER)
  call("STRLEN", PC)
  local read = {
    paused = held[1], concurrency = held[2] and tonumber(held[2]), max = held[3] and tonumber(held[3]),
    duration = held[4] and tonumber(held[4]), has_cap = held[5], cap = held[5] or DEFAULT_CAP,
    events = call("XLEN", EVENTS), any_delayed = call("ZCARD", DELAYED) > 0,
  }
  -- What is no number limits nothing; Lua also reads "nan".
  if read.concurrency ~= read.concurrency then read.concurrency = nil end
  if read.max ~= read.max then read.max = nil end
  -- Nothing waits for the length of a stream to be mended.
  if #read.cap > 15 or not string.find(read.cap, "^%d+$") then read.cap = DEFAULT_CAP end
  return read
end
local settings = read_settings()

-- Node expects the cap of the event stream to stand in `meta` once anything was written.
local function keep_cap()
  if not settings.has_cap then
    call("HSET", META, "opts.maxLenEvents", settings.cap)
    settings.has_cap = true
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
