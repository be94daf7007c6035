-- Lets a parent go that no longer waits for children. It may live in another queue, whose base key is `home`.
local function parent_blocked(home)
  local m = call("HMGET", home .. "meta", "paused", "concurrency")
  if m[1] then return true end
  local concurrency = tonumber(m[2] or "")
  return concurrency and call("LLEN", home .. "active") >= concurrency
end

local function wake_parents_queue(home)
  if not parent_blocked(home) then call("ZADD", home .. "marker", "0", "0") end
end

-- A job that left `active` otherwise than by its end leaves a place under the global concurrency of its queue.
local function wake_for_place_in(home)
  if call("HEXISTS", home .. "meta", "concurrency") == 1
    and call("LLEN", home .. "wait") + call("ZCARD", home .. "prioritized") > 0 then
    wake_parents_queue(home)
  end
end

-- To the front of its queue, whatever its delay and priority: what a removed child leaves behind.
local function release_raw(home, id, quiet)
  call("RPUSH", home .. "wait", id)
  wake_parents_queue(home)
  if not quiet then
    call("XADD", home .. "events", "*", "event", "waiting", "jobId", id, "prev", "waiting-children")
  end
end
