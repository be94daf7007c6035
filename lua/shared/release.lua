-- Releases parents of the present queue that wait for no more children; for a parent in another queue the caller uses
-- `within`. `enter` finds most keys of a wrong type; this finds the only other one that a release writes to.
local function check_waiting_children()
  call("ZCARD", base .. "waiting-children")
end

-- Moves a parent from `waiting-children` to the front of `wait`, whatever its delay and priority: this is what BullMQ
-- does when the last child is removed.
local function release_to_front(id, is_silent)
  if call("ZREM", base .. "waiting-children", id) == 0 then return end
  put_first(id, 0)
  -- Whoever removes a child does not say when: the server's clock has to do.
  note_ready(id, redis.pcall("HGET", base .. id, "opts"), call("TIME")[1] .. "000")
  if not is_silent then call("XADD", EVENTS, "*", "event", "waiting", "jobId", id, "prev", "waiting-children") end
end

-- Places a parent whose children have finished: in `delayed` if it has a delay, else by its priority, else at the front
-- of `wait`.
local function release(id, now)
  local held = call("HMGET", base .. id, "priority", "delay", "opts")
  local priority, delay = number_of(held[1]), number_of(held[2])
  if delay > 0 then
    put_delayed(id, now + delay)
  else
    put_ready(id, priority, true)
    note_ready(id, held[3], digits(now))
    call("XADD", EVENTS, "*", "event", "waiting", "jobId", id, "prev", "waiting-children")
  end
end

-- Releases a parent if it waits for children and none is pending.
local function release_if_free(id, now)
  local parent = base .. id
  if call("SCARD", parent .. ":dependencies") == 0 and call("EXISTS", parent) == 1
    and call("ZREM", base .. "waiting-children", id) == 1 then
    release(id, now)
  end
end
