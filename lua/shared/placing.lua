-- Places a batch of new jobs: `place` collects them, and `flush` writes what was collected for the present queue.
local pushed, put_first, ranked, due_later, parked = {}, {}, {}, {}, {}

local function place(kind, id, timestamp, delay, priority)
  if kind == "w" then
    pushed[#pushed + 1] = id
  elseif kind == "l" then
    put_first[#put_first + 1] = id
  elseif kind == "p" then
    ranked[#ranked + 1], ranked[#ranked + 2] = digits(on_demand().priority_score(tonumber(priority))), id
  elseif kind == "d" then
    local due = on_demand().due_time(tonumber(timestamp), tonumber(delay))
    due_later[#due_later + 1], due_later[#due_later + 2] = digits(on_demand().delayed_score(due)), id
    call("XADD", EVENTS, "*", "event", "delayed", "jobId", id, "delay", digits(due))
    return
  else
    parked[#parked + 1], parked[#parked + 2] = timestamp, id
    call("XADD", EVENTS, "*", "event", "waiting-children", "jobId", id)
    return
  end
  call("XADD", EVENTS, "*", "event", "waiting", "jobId", id)
end

-- Writes what was collected. Called before anything reads those lists and sets (a deduplication), and at the end of the
-- call.
local function flush()
  if #pushed > 0 then call("LPUSH", WAIT, unpack(pushed)) end
  if #put_first > 0 then call("RPUSH", WAIT, unpack(put_first)) end
  if #ranked > 0 then call("ZADD", PRIORITIZED, unpack(ranked)) end
  if #parked > 0 then call("ZADD", base .. "waiting-children", unpack(parked)) end
  if #pushed + #put_first + #ranked > 0 then wake() end
  if #due_later > 0 then
    call("ZADD", DELAYED, unpack(due_later))
    wake_when_due()
  end
  pushed, put_first, ranked, due_later, parked = {}, {}, {}, {}, {}
end
