-- The queue's own keys. KEYS[1] is the base key "<prefix>:<queue>:", which every other key begins with.
local call, base = redis.call, KEYS[1]
local WAIT, ACTIVE, PRIORITIZED, DELAYED = base .. "wait", base .. "active", base .. "prioritized", base .. "delayed"
local META, EVENTS, MARKER, PC = base .. "meta", base .. "events", base .. "marker", base .. "pc"

-- How long the event stream may get where nobody has said it.
local DEFAULT_CAP = "10000"

-- Digits without an exponent: Lua's own text of a number gives up after 14 of them. Whole numbers that fit take the
-- short way, which costs half.
local function digits(n)
  if n % 1 ~= 0 then return string.format("%.17g", n) end
  return string.format(n < 9e15 and n > -9e15 and "%d" or "%.0f", n)
end
