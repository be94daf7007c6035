-- Returns why an outcome cannot be applied, or nothing and the job's fields. Outcomes are checked and applied one after
-- the other, since one may change what the next depends on.
local function refusal(kind, job, token, lock, child, families)
  local held = read_held(job)
  if held.err then return WRONG_TYPE end
  if held[3] or held[4] or families or kind == "children" then
    local code = rarely().family_refusal(kind, job, held, child, families)
    if code then return code end
  end
  if not held[1] and call("EXISTS", job) == 0 then return MISSING_JOB end
  if token ~= "0" and lock ~= token then return lock and LOCK_MISMATCH or MISSING_LOCK end
  return nil, held
end

-- Applies each outcome that has no code yet, and sets its code. `tally` counts them.
local function finish_each(batch, codes, tally)
  if batch.total > 1 then finish_plain(batch, codes, tally) end
  local unlocked, freed, is_trimmed = {}, {}, tally.settled > 0
  -- Finished jobs with their scores that are not yet in their sets, and the retention rule of these jobs.
  local record = { completed = {}, failed = {}, alone = batch.total == 1 }
  for i = 1, batch.total do
    if not codes[i] then
      local place, job, run = batch.places[i], batch.jobs[i], batch.runs[i]
      local kind, id, token = ARGV[place - 1], ARGV[place], batch.tokens[i]
      if run then kind, token = "completed", run.token end
      local code, held = refusal(kind, job, token, batch.held[i], ARGV[place + 2], batch.families)
      if not code and call("LREM", ACTIVE, "-1", id) == 0 then code = NOT_IN_STATE end
      codes[i] = code or OK
      if not code then
        -- The first of these events trims the stream, for all; Node does not trim it for "children".
        if not is_trimmed and kind ~= "children" then
          keep_cap()
          trim_events(0)
          is_trimmed = true
        end
        tally.settled = tally.settled + 1
        local is_cancelled = held[5] and take_request(id, token)
        if token ~= "0" then
          unlocked[#unlocked + 1], freed[#freed + 1] = batch.locks[i], id
        end
        if kind == "completed" then
          tally.ended = tally.ended + 1
          tally.completed = tally.completed + 1
          local value, keep = ARGV[place + 2], ARGV[place + 3]
          if run then value, keep = ARGV[place + 1], run.rule or "-1" end
          finish(kind, id, job, held, value, keep, "returnvalue", record)
        elseif kind == "failed" then
          tally.ended = tally.ended + 1
          tally.failed = tally.failed + 1
          end_failed(id, job, held, place - 1, record)
        elseif is_cancelled then
          end_cancelled(kind, id, job, place - 1)
        else
          MOVES[kind](id, job, place - 1, held)
          place_again()
        end
      end
    end
  end
  if #unlocked > 0 then
    call("DEL", unpack(unlocked))
    if batch.any_stalled then call("SREM", base .. "stalled", unpack(freed)) end
  end
  flush(record, ARGV[1])
end
