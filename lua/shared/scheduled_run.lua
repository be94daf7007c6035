-- Returns when the run after `prev` of a job scheduler with an interval is due. The last `catch_up` missed slots are
-- made up, earlier ones skipped; runs stay on the scheduler's grid.
local function slot_after(prev, every, now, offset, catch_up)
  local slot = prev + every
  if catch_up > 0 then
    local passed = math.floor((now - prev) / every)
    if passed > catch_up then slot = prev + every * (passed - catch_up + 1) end
  elseif slot < now then
    slot = math.floor(now / every) * every + offset
    if slot <= now then slot = slot + every end
  end
  return math.floor(slot)
end

-- Creates and places the run of a scheduler that is due at `slot`. `run` has the strings `name`, `data`, `opts` (a JSON
-- object that is not empty), `priority`, `lifo` ("1" or "0") and `deid` (may be empty). Returns its delay.
local function store_run(scheduler, slot, now, run)
  local id, delay = "repeat:" .. scheduler .. ":" .. digits(slot), math.max(0, slot - now)
  call("ZADD", base .. "repeat", digits(slot), scheduler)
  -- Node takes an id number for each run without using it; so do we, so that the counter stays the same.
  call("INCR", base .. "id")
  local opts = string.sub(run.opts, 1, -2) .. ',"delay":' .. digits(delay) .. ',"jobId":' .. cjson.encode(id) .. "}"
  store_job({
    id = id, name = run.name, data = run.data, opts = opts, timestamp = digits(now), delay = digits(delay),
    priority = run.priority, rjk = scheduler, de = run.deid ~= "" and { id = run.deid },
  })
  if delay > 0 then
    put_delayed(id, slot)
  else
    put_ready(id, tonumber(run.priority), run.lifo == "1")
    announce("waiting", id)
  end
  return delay
end
