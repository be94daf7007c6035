-- Applies the usual outcome in bulk: "done", with the lock still held, for jobs that are no children and no parents.
-- All others are left to `finish_each`.

-- Removes ids from `active` if exactly these are its end, which is so when jobs end in the order in which they started.
-- Returns false, with nothing changed, if not.
local function leave_in_order(ids, n)
  local tail = call("LRANGE", ACTIVE, digits(-n), "-1")
  if #tail < n then return false end
  for k = 1, n do
    if tail[n + 1 - k] ~= ids[k] then return false end
  end
  call("LTRIM", ACTIVE, "0", digits(-n - 1))
  return true
end

-- Returns the positions in the batch of the jobs to finish in bulk, their ids, and their number.
local function find_alike(batch)
  local jobs, made, held, tokens, total = batch.jobs, batch.made, batch.held, batch.tokens, batch.total
  if call("EXISTS", unpack(jobs, 1, total)) < total then return nil, nil, 0 end
  local alike, ids, n = with_room(total), with_room(total), 0
  for i = 1, total do
    if made[i] and held[i] == tokens[i] and redis.pcall("HEXISTS", jobs[i], "parentKey") == 0 then
      n = n + 1
      alike[n], ids[n] = i, ARGV[batch.places[i]]
    end
  end
  return alike, ids, n
end

-- Finishes those jobs and sets their codes. Returns how many there were.
local function finish_alike(batch, codes)
  local alike, ids, n = find_alike(batch)
  if n == 0 then return 0 end
  local was_active = not leave_in_order(ids, n) and leave_active(ids, n)
  local jobs, locks, made, places, finished_on = batch.jobs, batch.locks, batch.made, batch.places, ARGV[1]
  local unlocked, freed, kept, finished = with_room(n), with_room(n), with_room(2 * n), 0
  for k = 1, n do
    local id, i = ids[k], alike[k]
    if not was_active or was_active[id] then
      -- An id that is named twice is finished once.
      if was_active then was_active[id] = nil end
      local job, value = jobs[i], ARGV[places[i] + 1]
      codes[i] = OK
      finished = finished + 1
      if finished == 1 then
        keep_cap()
        trim_events(0)
      end
      unlocked[finished], freed[finished] = locks[i], id
      kept[2 * finished - 1], kept[2 * finished] = finished_on, id
      call("HSET", job, "returnvalue", value, "finishedOn", finished_on, "atm", made[i])
      newest_event = call("XADD", EVENTS, "*", "event", "completed", "jobId", id, "returnvalue", value, "prev", "active")
    end
  end
  if finished > 0 then
    call("DEL", unpack(unlocked, 1, finished))
    call("SREM", base .. "stalled", unpack(freed, 1, finished))
    call("ZADD", base .. "completed", unpack(kept, 1, 2 * finished))
  end
  return finished
end
