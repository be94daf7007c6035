-- Lets parents of the present queue go that no longer wait for children; whoever knows of one in another queue goes there
-- by `within`. An attempt to enter finds keys of a wrong type; this finds the one that only a release writes to.
local function check_waiting_children()
  call("ZCARD", base .. "waiting-children")
end

-- A job key is split at its last colon: the queue's base key and the id.
local function split_key(key)
  return string.match(key, "^(.*:)([^:]*)$")
end

-- Takes the parent out of those that wait, if it is there: to the front of the queue, whatever its delay and priority. That
-- is what a child leaves behind that was removed.
local function let_go(id, is_silent)
  if call("ZREM", base .. "waiting-children", id) == 0 then return end
  put_first(id, 0)
  if not is_silent then call("XADD", EVENTS, "*", "event", "waiting", "jobId", id, "prev", "waiting-children") end
end

-- Places a parent whose children are done: its own delay counts first, then its priority, else it goes to the front.
local function release(id, now)
  local held = call("HMGET", base .. id, "priority", "delay")
  local priority, delay = number_of(held[1]), number_of(held[2])
  if delay > 0 then
    put_delayed(id, now + delay)
  else
    put_ready(id, priority, true)
    call("XADD", EVENTS, "*", "event", "waiting", "jobId", id, "prev", "waiting-children")
  end
end

-- Releases the parent if it waits and nothing holds it any more.
local function release_if_free(id, now)
  local parent = base .. id
  if call("SCARD", parent .. ":dependencies") == 0 and call("EXISTS", parent) == 1
    and call("ZREM", base .. "waiting-children", id) == 1 then
    release(id, now)
  end
end
