-- Reads every key of a queue that a removal may write to and that `read_settings` does not read, so that a key of a
-- wrong type fails the call before its first write. Returns the number of jobs in each sorted set.
local function read_sets()
  if settings.sets then return settings.sets end
  local sets = {}
  call("LLEN", base .. "paused")
  for _, zset in ipairs(ZSETS) do sets[zset] = call("ZCARD", base .. zset) end
  call("ZCARD", base .. "repeat")
  settings.sets = sets
  return sets
end

local function check_queue(home)
  return within(home, read_sets)
end
