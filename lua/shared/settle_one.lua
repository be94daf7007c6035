-- One job that simply completed, and the next one if it is fresh: the shortest batch has a way of its own, since what
-- follows serves any batch and would cost it more than its commands do. What it has not done is left to what follows,
-- which goes on after `done_up_to`. A second key asks for the long way, so that tests can compare the two.
local done_up_to = 8

-- Whether a job was added without a delay and a priority, by its options: taken from `wait` it has none. Others may keep
-- theirs there.
local function is_undemanding(opts)
  return not string.find(opts, '"delay"', 1, true) and not string.find(opts, '"priority"', 1, true)
end

if not KEYS[2] and ARGV[6] == "" and ARGV[8] == "" and (#ARGV == 8 or #ARGV == 14 and ARGV[9] == "done") then
  local meta = call("HMGET", META, "paused", "concurrency", "max", "opts.maxLenEvents")
  local waiting, prioritized = call("LLEN", WAIT), call("ZCARD", PRIORITIZED)
  -- A key of a wrong type is met before anything is written: by its first reading, or by a write that is the first.
  call("ZCARD", MARKER)
  local events = call("XLEN", EVENTS)
  local is_common = not meta[1] and not meta[2] and not meta[3] and meta[4] and string.find(meta[4], "^%d+$")
    and call("ZCARD", DELAYED) == 0
  local token, id, value = ARGV[10], ARGV[13], ARGV[14]

  -- Whether the outcome can be applied without a look at relatives.
  local function is_plain(job)
    local held = redis.pcall("HMGET", job, "ats", "parentKey")
    return not held.err and held[1] and not held[2] and call("GET", job .. ":lock") == token
      and call("EXISTS", job .. ":dependencies", job .. ":unsuccessful") == 0
  end

  if is_common and id then
    local stalled, finished, job = base .. "stalled", base .. "completed", base .. id
    call("SCARD", stalled)
    call("ZCARD", finished)
    if is_plain(job) and call("LREM", ACTIVE, "-1", id) == 1 then
      call("DEL", job .. ":lock")
      call("SREM", stalled, id)
      if events > tonumber(meta[4]) then call("XTRIM", EVENTS, "MAXLEN", "~", meta[4]) end
      call("ZADD", finished, ARGV[1], id)
      call("HSET", job, "returnvalue", value, "finishedOn", ARGV[1], "atm", ARGV[11])
      call("XADD", EVENTS, "*", "event", "completed", "jobId", id, "returnvalue", value, "prev", "active")
      done_up_to = 14
    end
  end
  if is_common and (not id or done_up_to == 14) then
    local codes = id and { OK } or {}
    local wants_one = ARGV[2] == "1" or ARGV[2] == "-1"
    if ARGV[2] == "0" or waiting == 0 and prioritized == 0 then
      -- There is nothing to hand out, or nothing is wanted.
      if ARGV[2] ~= "0" then call("DEL", PC) end
      if id and waiting == 0 and prioritized == 0 and call("LLEN", ACTIVE) == 0 then
        call("XADD", EVENTS, "*", "event", "drained")
      end
      return { codes, {}, 0, "0", {}, 0 }
    end
    -- The next job, if it is the only one that can be had or the only one that is wanted.
    if waiting > 0 and (wants_one or waiting == 1 and prioritized == 0) then
      local next_id = call("LINDEX", WAIT, "-1")
      local job = base .. next_id
      if redis.pcall("HLEN", job) == 6 and string.sub(next_id, 1, 2) ~= "0:" then
        local held = call("HMGET", job, "name", "data", "opts", "timestamp")
        if held[1] and held[2] and held[3] and held[4] and is_undemanding(held[3]) then
          call("RPOPLPUSH", WAIT, ACTIVE)
          -- As whoever finds no prioritized job; one who wants no more does not look.
          if not wants_one then call("DEL", PC) end
          if ARGV[3] ~= "0" then call("SET", job .. ":lock", ARGV[3], "PX", ARGV[4]) end
          call("XADD", EVENTS, "*", "event", "active", "jobId", next_id, "prev", "waiting")
          if ARGV[5] ~= "" then
            call("HSET", job, "processedOn", ARGV[1], "ats", "1", "pb", ARGV[5])
          else
            call("HSET", job, "processedOn", ARGV[1], "ats", "1")
          end
          call("ZADD", MARKER, "0", "0")
          return { codes, { next_id, held[1], held[2], held[3], held[4], 0 }, 0, "0", {}, 0 }
        end
      end
    end
  end
end
