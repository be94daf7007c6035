-- Returns whether a job has this id. A hash that a late write has left of a removed job is deleted, with the places it
-- still has: otherwise those few fields would keep the new job from ever being stored.
local function is_taken(id, key)
  if call("EXISTS", key) == 0 then return false end
  if is_job(key) ~= false then return true end
  call("DEL", key)
  for _, zset in ipairs({ "completed", "failed", "delayed", "prioritized", "waiting-children" }) do
    redis.pcall("ZREM", base .. zset, id)
  end
  for _, list in ipairs({ "wait", "paused" }) do redis.pcall("LREM", base .. list, "0", id) end
  return false
end
