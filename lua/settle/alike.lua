-- Applies the usual outcomes in bulk: "done" and "ruled", with the lock still held, for jobs that are no children and no
-- parents.
-- All others are left to `finish_each`.

-- As `call`, but an error of the server is returned, too.
local ask = redis.pcall

-- Returns the positions in the batch of the jobs to finish in bulk, their ids, and their number.
local function find_alike(batch)
  local jobs, runs, held, total = batch.jobs, batch.runs, batch.held, batch.total
  local args, places = ARGV, batch.places
  if call("EXISTS", unpack(jobs, 1, total)) < total then return nil, nil, 0 end
  local alike, ids, n = with_room(total), with_room(total), 0
  for i = 1, total do
    local run = runs[i]
    if run and held[i] == run.token and ask("HEXISTS", jobs[i], "parentKey") == 0 then
      n = n + 1
      alike[n], ids[n] = i, args[places[i]]
    end
  end
  return alike, ids, n
end

-- Finishes those jobs and sets their codes. Returns how many there were.
local function finish_alike(batch, codes)
  local alike, ids, n = find_alike(batch)
  if n > 0 and not leave_in_order(ids, n) then n = on_demand().rarely().leave_in_any_order(alike, ids, n) end
  if n == 0 then return 0 end
  keep_cap()
  trim_events(0)
  local jobs, locks, runs, places, args = batch.jobs, batch.locks, batch.runs, batch.places, ARGV
  local finished_on = args[1]
  local all = n == batch.total
  local unlocked, kept, gone = all and locks or with_room(n), with_room(2 * n), {}
  local n_kept, n_gone = 0, 0
  for k = 1, n do
    local id, i = ids[k], alike[k]
    local job, run, value = jobs[i], runs[i], args[places[i] + 1]
    if not all then codes[i], unlocked[k] = OK, locks[i] end
    if run.rule == "0" then
      -- As `delete_jobs` does, but for the parts of parents.
      gone[n_gone + 1], gone[n_gone + 2], gone[n_gone + 3], gone[n_gone + 4]
        = job, job .. ":logs", job .. ":processed", job .. ":failed"
      n_gone = n_gone + 4
    else
      kept[n_kept + 1], kept[n_kept + 2] = finished_on, id
      n_kept = n_kept + 2
      call("HSET", job, "returnvalue", value, "finishedOn", finished_on, "atm", run.made)
    end
    newest_event = call("XADD", EVENTS, "*", "event", "completed", "jobId", id, "returnvalue", value, "prev", "active")
  end
  call("DEL", unpack(unlocked, 1, n))
  if batch.any_stalled then call("SREM", base .. "stalled", unpack(ids, 1, n)) end
  if n_gone > 0 then call("DEL", unpack(gone, 1, n_gone)) end
  if batch.any_ruled then
    on_demand().apply_rules(batch, alike, ids, n)
  elseif n_kept > 0 then
    call("ZADD", base .. "completed", unpack(kept, 1, n_kept))
  end
  return n
end
