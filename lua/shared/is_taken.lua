-- Whether a job has this id. What a late write has left of one gives way, with what is left of its places: a job that never
-- ran since a few fields stood in its way would be lost.
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
