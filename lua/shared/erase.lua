-- Removes many jobs at once, without an event for each. First `look_up` reads every job and finds keys of a wrong type,
-- then `erase` collects the jobs, and `delete_erased` deletes them.
local function is_pending_run(id)
  local scheduler, run = string.match(id, "^repeat:(.+):([^:]+)$")
  return scheduler and call("ZSCORE", base .. "repeat", scheduler) == run
end

local function check_owner(deid)
  if deid and deid ~= "" then call("STRLEN", base .. "de:" .. deid) end
end

local checked_parents = {}
local function check_parent(key)
  if not key or key == "" or checked_parents[key] then return end
  if checked_parents[key] == false then error("a parent of a wrong type") end
  -- A parent that is met again while it is being read is its own ancestor; this ends the recursion.
  checked_parents[key] = "reading"
  call("SCARD", key .. ":dependencies")
  local home = split_key(key)
  if home then check_queue(home) end
  if home == base then
    local above = call("HMGET", key, "parentKey", "deid")
    check_owner(above[2])
    check_parent(above[1])
  end
  checked_parents[key] = true
end

-- Reads the fields that decide whether a job is removed, and those that its removal needs. A job of a wrong type has no
-- fields, and relatives of a wrong type are ignored, so that they do not block the removal of others.
local function look_up(id)
  local held = redis.pcall("HMGET", base .. id, "parentKey", "deid", "rjk", "timestamp", "processedOn", "finishedOn")
  if held.err then return {} end
  if not pcall(check_owner, held[2]) then held[2] = false end
  if not pcall(check_parent, held[1]) then
    held[1] = false
    for key, state in pairs(checked_parents) do
      if state == "reading" then checked_parents[key] = false end
    end
  end
  return held
end

local function free_deduplication(id, deid)
  if not deid or deid == "" then return end
  local owner = base .. "de:" .. deid
  if call("GET", owner) == id then call("DEL", owner, base .. "dn:" .. deid) end
end

local erased = {}
local function erase(id, held)
  erased[#erased + 1] = base .. id
  held = held or call("HMGET", base .. id, "parentKey", "deid")
  free_deduplication(id, held[2])
  local parent = held[1]
  if not parent or parent == "" or call("EXISTS", parent) == 0 then return end
  local pending = parent .. ":dependencies"
  if call("SREM", pending, base .. id) == 0 or call("SCARD", pending) > 0 then return end
  local home, parent_id = split_key(parent)
  -- A parent in this queue is removed with its last child; a parent in another queue runs without it.
  if home and home ~= base then
    within(home, release_to_front, parent_id, true)
  elseif home and call("ZREM", base .. "waiting-children", parent_id) == 1 then
    erase(parent_id)
  end
end

local function delete_erased()
  delete_jobs(erased)
end
