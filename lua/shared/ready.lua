-- Adds an id to the jobs that are ready: behind the others of its priority; without a priority at the end of `wait`, or
-- with `lifo` at its front. A caller with many ids wakes the workers once, after the last.
local function enqueue(id, priority, lifo)
  if priority ~= 0 then
    call("ZADD", PRIORITIZED, digits(priority_score(priority)), id)
  else
    call(lifo and "RPUSH" or "LPUSH", WAIT, id)
  end
end

-- Notes when a job became ready that is to be begun within a span of that (`expiresIn` among its options), where that is not
-- when it was added and its first delay over. `field` is another one where the job has run before.
local function note_ready(id, opts, at, field)
  if type(opts) == "string" and string.find(opts, '"expiresIn"', 1, true) then
    call("HSET", base .. id, field or "oxmq:ready", at)
  end
end

local function put_ready(id, priority, lifo)
  enqueue(id, priority, lifo)
  wake()
end

-- Puts an id before all others of its priority, or without a priority at the front of `wait`.
local function put_first(id, priority)
  if priority > 0 then
    call("ZADD", PRIORITIZED, digits(priority * TURNS), id)
  else
    call("RPUSH", WAIT, id)
  end
  wake()
end
