-- The outcomes of a call in order, and everything of them that can be read at once:
--   places    where the id of each stands among the arguments
--   jobs      their job keys
--   locks     their lock keys, and `held` what these hold
--   tokens    the locks that they should have
--   made      `atm` from now on of one that is done, false for any other
--   families  whether any that is completed may have children, or be cancelled
local WIDTH = { completed = 5, failed = 8, retry = 7, delayed = 8, waiting = 3, children = 4 }

-- A table with room for `n` values, n being at most the number of arguments: to let it grow costs more than to fill it.
local function with_room(n)
  return { unpack(ARGV, 1, n) }
end

local function read_batch(first)
  local args, total, n, any_done, went_back = ARGV, 0, 0, false, false
  local most = math.floor((#args - first + 1) / 2)
  local places, jobs, locks, tokens, made = with_room(most), with_room(most), with_room(most), with_room(most), {}
  local relatives = with_room(2 * most)
  local at = first
  while args[at] do
    local kind, token, count = args[at], args[at + 2], false
    local from, to, step = at + 1, at + 1, 2
    if kind == "done" then
      token, count, any_done = args[at + 1], args[at + 2], true
      from, to = at + 4, at + 2 + 2 * tonumber(args[at + 3])
      at = to + 2
    else
      went_back = went_back or kind == "waiting"
      at = at + WIDTH[kind]
    end
    for place = from, to, step do
      local job = base .. args[place]
      total = total + 1
      places[total], jobs[total], locks[total], tokens[total], made[total] = place, job, job .. ":lock", token, count
      if count or kind == "completed" then
        relatives[n + 1], relatives[n + 2] = job .. ":dependencies", job .. ":unsuccessful"
        n = n + 2
      end
    end
  end
  local batch = {
    places = places, jobs = jobs, locks = locks, tokens = tokens, made = made, total = total, any_done = any_done,
    went_back = went_back, families = false, held = false,
  }
  if total > 0 then
    batch.held = call("MGET", unpack(locks, 1, total))
    relatives[n + 1] = base .. "oxmq:cancels"
    batch.families = n > 0 and call("EXISTS", unpack(relatives, 1, n + 1)) > 0
    -- As in `settings`: a key of a wrong type is met before anything is written.
    call("SCARD", base .. "stalled")
    call("ZCARD", base .. "completed")
    call("ZCARD", base .. "failed")
    call("ZCARD", base .. "waiting-children")
  end
  return batch
end
