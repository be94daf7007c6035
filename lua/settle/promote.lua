-- Moves delayed jobs that are due to where they wait.
local function promote(due)
  local held = {}
  for i, id in ipairs(due) do
    local fields = redis.pcall("HMGET", base .. id, "priority", "opts")
    -- One that is begun late may be worth nothing, and how late it is counts from when it was due.
    if fields[2] and string.find(fields[2], '"expiresIn"', 1, true) then
      fields.due = digits(math.floor(tonumber(call("ZSCORE", DELAYED, id)) / PLACES))
    end
    held[i] = fields
  end
  call("ZREM", DELAYED, unpack(due))
  for i, id in ipairs(due) do
    local job, fields = base .. id, held[i]
    enqueue(id, not fields.err and number_of(fields[1]) or 0)
    call("XADD", EVENTS, "*", "event", "waiting", "jobId", id, "prev", "delayed")
    -- Without a hash it stays so: HSET would create one that is no job.
    if fields[2] or not fields.err and call("EXISTS", job) == 1 then
      call("HSET", job, "delay", "0")
      if fields.due then note_ready(id, fields[2], fields.due) end
    end
  end
  wake()
end
