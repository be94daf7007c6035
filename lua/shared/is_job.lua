-- Returns whether a key holds a job, and nil for a key of another type. A hash without name and data is no job: a late
-- write created it after the job had been removed.
local function is_job(key)
  local named = redis.pcall("HEXISTS", key, "name")
  if type(named) ~= "number" then return nil end
  return named == 1 or call("HEXISTS", key, "data") == 1
end
