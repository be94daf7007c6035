-- Moves delayed jobs that are due to where they wait.
local function promote(due)
  call("ZREM", DELAYED, unpack(due))
  for _, id in ipairs(due) do
    local job = base .. id
    local held = redis.pcall("HGET", job, "priority")
    local readable = not (type(held) == "table" and held.err)
    local priority = readable and number_of(held) or 0
    enqueue(id, priority)
    call("XADD", EVENTS, "*", "event", "waiting", "jobId", id, "prev", "delayed")
    -- Without a hash it stays so: HSET would create one that is no job.
    if readable and call("EXISTS", job) == 1 then call("HSET", job, "delay", "0") end
  end
  wake()
end
