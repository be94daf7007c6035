-- Applies in bulk what mostly becomes of a failed attempt: "retry", "delayed" and "failed", with the lock still held, for
-- jobs without a parent, a deduplication or a planned failure. All others are left to `finish_each`.
local IS_PLAIN = { retry = true, delayed = true, failed = true }

-- Returns the positions in the batch of these jobs, their ids, what `read_held` says of them by position, and their
-- number.
local function find_plain(batch, codes)
  local alike, ids, known, n = {}, {}, {}, 0
  for i = 1, batch.total do
    local place, token = batch.places[i], batch.tokens[i]
    if token and token ~= "0" and token == batch.held[i] and not codes[i] and IS_PLAIN[ARGV[place - 1]] then
      local held = read_held(batch.jobs[i])
      if held[1] and not held[3] and not held[4] and not held[5] then
        n = n + 1
        alike[n], ids[n], known[i] = i, ARGV[place], held
      end
    end
  end
  return alike, ids, known, n
end

-- Finishes those jobs or puts them where they wait, and sets their codes. `tally` counts them.
local function finish_plain(batch, codes, tally)
  local alike, ids, known, n = find_plain(batch, codes)
  if n > 0 and not leave_in_order(ids, n) then n = rarely().leave_in_any_order(alike, ids, n) end
  if n == 0 then return end
  if tally.settled == 0 then
    keep_cap()
    trim_events(0)
  end
  local unlocked, record = {}, { completed = {}, failed = {} }
  for k = 1, n do
    local i = alike[k]
    local arg = batch.places[i] - 1
    local kind = ARGV[arg]
    codes[i], unlocked[k] = OK, batch.locks[i]
    if kind == "failed" then
      end_failed(ids[k], batch.jobs[i], known[i], arg, record)
      tally.failed = tally.failed + 1
    else
      MOVES[kind](ids[k], batch.jobs[i], arg, known[i])
    end
  end
  tally.settled, tally.ended = tally.settled + n, tally.ended + tally.failed
  place_again()
  call("DEL", unpack(unlocked))
  if batch.any_stalled then call("SREM", base .. "stalled", unpack(ids, 1, n)) end
  flush(record, ARGV[1])
end
