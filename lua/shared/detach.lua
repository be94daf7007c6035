-- A job key is split at its last colon: the queue's base key and the id.
local function split_key(key)
  return string.match(key, "^(.*:)([^:]*)$")
end

-- Takes a child that goes away for good out of its parent's pending children.
local function detach(child, parent)
  if not parent or parent == "" or call("SREM", parent .. ":dependencies", child) == 0 then return end
  if call("SCARD", parent .. ":dependencies") > 0 then return end
  local home, id = split_key(parent)
  if home and call("ZREM", home .. "waiting-children", id) == 1 then release_raw(home, id) end
end

-- Deletes a finished job that is not kept, with all that belongs to it.
local JOB_PARTS = { "", ":logs", ":dependencies", ":processed", ":failed", ":unsuccessful" }
local function delete_jobs(jobs)
  local keys = {}
  for _, job in ipairs(jobs) do
    for _, part in ipairs(JOB_PARTS) do keys[#keys + 1] = job .. part end
    if #keys > 6000 then
      call("DEL", unpack(keys))
      keys = {}
    end
  end
  if #keys > 0 then call("DEL", unpack(keys)) end
end
