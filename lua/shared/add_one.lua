-- The shortest batch, one plain job on a queue in use, has a way of its own: what follows serves any batch, and would
-- cost it more than its commands do. It leaves everything else to what follows, before it has written anything. A
-- second key asks for the long way, so that tests can compare the two.
if #ARGV == 8 and (ARGV[1] == "w" or ARGV[1] == "l") and not KEYS[2] then
  local meta = call("HMGET", META, "paused", "concurrency", "opts.maxLenEvents")
  call("LLEN", WAIT)
  call("ZCARD", MARKER)
  call("XLEN", EVENTS)
  local id, cap = ARGV[2], meta[3]
  if cap and string.find(cap, "^%d+$") and (id == "" or call("EXISTS", base .. id) == 0) then
    -- The first write, so that a counter of a wrong type fails it before the others.
    local number = call("INCR", base .. "id")
    if id == "" then id = digits(number) end
    local job = base .. id
    -- A number that is taken was tampered with; the long way takes the next one.
    if call("EXISTS", job) == 0 then
      call("HSET", job, "name", ARGV[3], "data", ARGV[4], "opts", ARGV[5], "timestamp", ARGV[6], "delay", ARGV[7],
        "priority", ARGV[8])
      call("XADD", EVENTS, "*", "event", "added", "jobId", id, "name", ARGV[3])
      call(ARGV[1] == "w" and "LPUSH" or "RPUSH", WAIT, id)
      local is_open = not meta[1] and (not meta[2] or call("LLEN", ACTIVE) < tonumber(meta[2]))
      if is_open then call("ZADD", MARKER, "0", "0") end
      call("XADD", EVENTS, "MAXLEN", "~", cap, "*", "event", "waiting", "jobId", id)
      return { CREATED, id, "" }
    end
  end
end
