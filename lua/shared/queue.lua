-- The queue's own keys. KEYS[1] is the base key "<prefix>:<queue>:", which every other key begins with.
local call, base = redis.call, KEYS[1]
local WAIT, ACTIVE, PRIORITIZED, DELAYED = base .. "wait", base .. "active", base .. "prioritized", base .. "delayed"
local META, EVENTS, MARKER, PC = base .. "meta", base .. "events", base .. "marker", base .. "pc"

-- Digits without an exponent: Lua's own text of a number gives up after 14 of them.
local function digits(n)
  return string.format(n % 1 == 0 and "%.0f" or "%.17g", n)
end
