-- Returns the ids of the delayed jobs that are due, at most 200; nil for none. A queue without delayed jobs costs no
-- command.
local function ids_due(now)
  if not settings.any_delayed then return nil end
  local ids = call("ZRANGEBYSCORE", DELAYED, "-inf", digits((now + 1) * PLACES - 1), "LIMIT", "0", "200")
  return #ids > 0 and ids or nil
end
