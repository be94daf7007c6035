-- Reads the outcomes of a call, and with one command each what all of them need:
--   places       where in ARGV the id of each is
--   jobs         their job keys
--   locks        their lock keys, and `held` the present values of these
--   runs         what the jobs of a "done" or "ruled" share: { token, made, rule }, false for any other outcome
--   tokens       for any other outcome, the value that its lock should have
--   families     whether a completed job may have children, or any job may be cancelled
--   any_waiting  whether any outcome is "waiting", and `any_done` likewise
--   any_ruled    whether any completed job is kept by a rule
local WIDTH = { completed = 5, failed = 8, retry = 7, delayed = 8, waiting = 3, children = 4 }

-- Returns a table with room for `n` values, at most #ARGV: growing a table costs more than filling it.
local function with_room(n)
  return { unpack(ARGV, 1, n) }
end

local function read_batch(first)
  local args, total, n, any_done, any_ruled, any_waiting = ARGV, 0, 0, false, false, false
  local most = math.floor((#args - first + 1) / 2)
  local places, jobs, locks, runs, tokens = with_room(most), with_room(most), with_room(most), with_room(most), {}
  local relatives = with_room(2 * most)
  local arg = first
  while args[arg] do
    local kind, run, from, to = args[arg], false, arg + 1, arg + 1
    if kind == "done" or kind == "ruled" then
      run, any_done = { token = args[arg + 1], made = args[arg + 2] }, true
      from = arg + 4
      if kind == "ruled" then
        run.rule, any_ruled = args[from], any_ruled or args[from] ~= "0"
        from = from + 1
      end
      to = from + 2 * tonumber(args[arg + 3]) - 2
      arg = to + 2
    else
      tokens[total + 1] = args[arg + 2]
      any_waiting = any_waiting or kind == "waiting"
      arg = arg + WIDTH[kind]
    end
    for place = from, to, 2 do
      local job = base .. args[place]
      total = total + 1
      places[total], jobs[total], locks[total], runs[total] = place, job, job .. ":lock", run
      if run or kind == "completed" then
        relatives[n + 1], relatives[n + 2] = job .. ":dependencies", job .. ":unsuccessful"
        n = n + 2
      end
    end
  end
  local batch = {
    places = places, jobs = jobs, locks = locks, runs = runs, tokens = tokens, total = total, any_done = any_done,
    any_ruled = any_ruled, any_waiting = any_waiting, any_stalled = false, families = false, held = false,
  }
  if total > 0 then
    batch.held = call("MGET", unpack(locks, 1, total))
    relatives[n + 1] = base .. "oxmq:cancels"
    batch.families = n > 0 and call("EXISTS", unpack(relatives, 1, n + 1)) > 0
    -- As in `read_settings`: a key of a wrong type fails the call before the first write.
    batch.any_stalled = call("SCARD", base .. "stalled") > 0
    call("ZCARD", base .. "completed")
    call("ZCARD", base .. "failed")
    call("ZCARD", base .. "waiting-children")
  end
  return batch
end
