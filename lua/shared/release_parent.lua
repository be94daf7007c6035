-- The way of a parent whose children are done: its own delay first, then its priority, else the front of the queue.
local function release_parent(home, id, now)
  local held = call("HMGET", home .. id, "priority", "delay")
  local priority, delay = tonumber(held[1] or "") or 0, tonumber(held[2] or "") or 0
  if delay > 0 then
    local delayed = home .. "delayed"
    call("ZADD", delayed, digits((now + delay) * 4096), id)
    if home == base then settings.any_delayed = true end
    call("XADD", home .. "events", "*", "event", "delayed", "jobId", id, "delay", digits(now + delay))
    local first = call("ZRANGE", delayed, "0", "0", "WITHSCORES")
    call("ZADD", home .. "marker", digits(tonumber(first[2]) / 4096), "1")
  elseif priority == 0 then
    release_raw(home, id)
  else
    local turn = tonumber(call("INCR", home .. "pc")) % 4294967296
    call("ZADD", home .. "prioritized", digits(priority * 4294967296 + turn), id)
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
