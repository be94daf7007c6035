-- Whether a key holds a job; nil for a key of another type. A hash without a name and data is none: it is what a late write
-- has left of one that was removed.
local function is_job(key)
  local named = redis.pcall("HEXISTS", key, "name")
  if type(named) ~= "number" then return nil end
  return named == 1 or call("HEXISTS", key, "data") == 1
end
