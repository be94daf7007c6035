-- The queue's own keys. KEYS[1] is the base key "<prefix>:<queue>:", with which every other key begins.
local call, base = redis.call, KEYS[1]
local WAIT, ACTIVE, PRIORITIZED, DELAYED = base .. "wait", base .. "active", base .. "prioritized", base .. "delayed"
local META, EVENTS, MARKER, PC = base .. "meta", base .. "events", base .. "marker", base .. "pc"

-- The cap of the event stream where none was set.
local DEFAULT_CAP = "10000"

-- Writes a number in digits, without an exponent: Lua's own conversion uses one after 14 digits. Whole numbers below
-- 9e15 use the cheaper format, which costs half.
local function digits(n)
  if n % 1 ~= 0 then return string.format("%.17g", n) end
  return string.format(n < 9e15 and n > -9e15 and "%d" or "%.0f", n)
end
