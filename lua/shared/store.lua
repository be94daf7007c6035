-- Stores a new job's hash in the present queue and announces it. The caller places it, with `place`, `put_ready` or
-- `put_delayed`.
local function store_job(job)
  local fields = { "name", job.name, "data", job.data, "opts", job.opts, "timestamp", job.timestamp, "delay", job.delay,
    "priority", job.priority }
  local function field(name, value)
    fields[#fields + 1], fields[#fields + 2] = name, value
  end
  if job.parent then
    field("parentKey", job.parent.key)
    field("parent", job.parent.json)
  end
  if job.rjk then field("rjk", job.rjk) end
  if job.de then field("deid", job.de.id) end
  call("HSET", base .. job.id, unpack(fields))
  call("XADD", EVENTS, "*", "event", "added", "jobId", job.id, "name", job.name)
end
