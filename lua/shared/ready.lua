-- Puts an id where ready jobs wait: behind the others of its priority, or without one at the end of the list, with `lifo`
-- at its front. Whoever calls it for many ids wakes the workers once, after the last.
local function enqueue(id, priority, lifo)
  if priority ~= 0 then
    call("ZADD", PRIORITIZED, digits(priority_score(priority)), id)
  else
    call(lifo and "RPUSH" or "LPUSH", WAIT, id)
  end
end

local function put_ready(id, priority, lifo)
  enqueue(id, priority, lifo)
  wake()
end

-- Puts an id before all others of its priority, or without one at the front of the list.
local function put_first(id, priority)
  if priority > 0 then
    call("ZADD", PRIORITIZED, digits(priority * TURNS), id)
  else
    call("RPUSH", WAIT, id)
  end
  wake()
end
