-- Reads all that a release writes to there: a key of a wrong type fails before anything is written.
local function read_queue(home)
  for _, list in ipairs({ "wait", "active" }) do call("LLEN", home .. list) end
  for _, zset in ipairs({ "prioritized", "delayed", "waiting-children", "marker" }) do call("ZCARD", home .. zset) end
  call("HLEN", home .. "meta")
  call("XLEN", home .. "events")
  call("STRLEN", home .. "pc")
end

-- The way of a parent whose children are done: its own delay first, then its priority, else the front of the queue.
local function release_parent(home, id, now)
  local held = call("HMGET", home .. id, "priority", "delay")
  local priority, delay = number_of(held[1]), number_of(held[2])
  if delay > 0 then
    local delayed = home .. "delayed"
    call("ZADD", delayed, digits((now + delay) * PLACES), id)
    if home == base then settings.any_delayed = true end
    call("XADD", home .. "events", "*", "event", "delayed", "jobId", id, "delay", digits(now + delay))
    local first = call("ZRANGE", delayed, "0", "0", "WITHSCORES")
    call("ZADD", home .. "marker", digits(tonumber(first[2]) / PLACES), "1")
  elseif priority == 0 then
    release_raw(home, id)
  else
    call("ZADD", home .. "prioritized", digits(priority * TURNS + next_turn(home .. "pc")), id)
    wake_parents_queue(home)
    call("XADD", home .. "events", "*", "event", "waiting", "jobId", id, "prev", "waiting-children")
  end
end

-- Releases the parent if it waits and nothing holds it any more.
local function release_if_free(home, id, now)
  local parent = home .. id
  if call("SCARD", parent .. ":dependencies") == 0 and call("EXISTS", parent) == 1
    and call("ZREM", home .. "waiting-children", id) == 1 then
    release_parent(home, id, now)
  end
end
