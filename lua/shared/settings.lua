-- What `meta` says, read once. Reading every kind of key first also means that a key of a wrong type fails the
-- whole call before anything is written.
local settings = (function()
  local m = call("HMGET", META, "paused", "concurrency", "max", "duration", "opts.maxLenEvents")
  local lengths = {
    wait = call("LLEN", WAIT), active = call("LLEN", ACTIVE), prioritized = call("ZCARD", PRIORITIZED),
    delayed = call("ZCARD", DELAYED), marker = call("ZCARD", MARKER), events = call("XLEN", EVENTS),
    pc = call("STRLEN", PC),
  }
  local cap = tonumber(m[5] or "")
  if not m[5] then
    cap = 10000
  elseif not cap or cap < 0 then
    return error("meta: opts.maxLenEvents is not a length")
  end
  return {
    paused = m[1] and true, concurrency = tonumber(m[2] or ""), max = tonumber(m[3] or ""),
    duration = tonumber(m[4] or ""), cap = digits(cap), capped = m[5] and true, at_start = lengths,
  }
end)()

-- Node expects the cap of the event stream to stand in `meta` once anything was written.
local function keep_cap()
  if not settings.capped then
    call("HSET", META, "opts.maxLenEvents", settings.cap)
    settings.capped = true
  end
end

local function trim_events()
  call("XTRIM", EVENTS, "MAXLEN", "~", settings.cap)
end

-- How many more jobs may become active: none while paused, up to the global concurrency otherwise.
local function headroom()
  if settings.paused then return 0 end
  if not settings.concurrency then return math.huge end
  return math.max(0, settings.concurrency - call("LLEN", ACTIVE))
end
