-- One job that simply completed, and the next one if it is fresh: the shortest batch has a way of its own, since what
-- follows serves any batch and would cost it more than its commands do. What it has not done is left to what follows,
-- which goes on after `done_up_to`. A second key asks for the long way, so that tests can compare the two.
local done_up_to = 8
if not KEYS[2] and ARGV[6] == "" and ARGV[8] == ""
  and (#ARGV == 8 or #ARGV == 13 and ARGV[9] == "completed" and ARGV[13] == "-1") then
  local meta = call("HMGET", META, "paused", "concurrency", "max", "opts.maxLenEvents")
  local waiting, prioritized = call("LLEN", WAIT), call("ZCARD", PRIORITIZED)
  call("LLEN", ACTIVE)
  call("ZCARD", MARKER)
  call("XLEN", EVENTS)
  call("STRLEN", PC)
  local is_common = not meta[1] and not meta[2] and not meta[3] and meta[4] and string.find(meta[4], "^%d+$")
    and call("ZCARD", DELAYED) == 0
  local id, token = ARGV[10], ARGV[11]

  -- Whether the outcome can be applied without a look at relatives, limits or rules.
  local function is_plain(job)
    local held = redis.pcall("HMGET", job, "ats", "parentKey", "deid", "atm")
    return not held.err and held[1] and not held[2] and not held[3] and call("GET", job .. ":lock") == token
      and call("EXISTS", job .. ":dependencies", job .. ":unsuccessful") == 0, held[4]
  end

  if is_common and id and token ~= "0" then
    local stalled, finished, job = base .. "stalled", base .. "completed", base .. id
    call("SCARD", stalled)
    call("ZCARD", finished)
    local plain, made = is_plain(job)
    if plain and call("LREM", ACTIVE, "-1", id) == 1 then
      call("DEL", job .. ":lock")
      call("SREM", stalled, id)
      call("XTRIM", EVENTS, "MAXLEN", "~", meta[4])
      call("ZADD", finished, ARGV[1], id)
      call("HSET", job, "returnvalue", ARGV[12], "finishedOn", ARGV[1], "atm",
        made and digits((tonumber(made) or 0) + 1) or "1")
      call("XADD", EVENTS, "*", "event", "completed", "jobId", id, "returnvalue", ARGV[12], "prev", "active")
      done_up_to = 13
    end
  end
  -- The next job, if it is the only one that can be had or the only one that is wanted.
  local wants_one = ARGV[2] == "1" or ARGV[2] == "-1"
  if is_common and (not id or done_up_to == 13) and (wants_one and waiting > 0
    or ARGV[2] ~= "0" and waiting == 1 and prioritized == 0) then
    local next_id = call("LINDEX", WAIT, "-1")
    local job = base .. next_id
    if redis.pcall("HLEN", job) == 6 and string.sub(next_id, 1, 2) ~= "0:" then
      local held = call("HMGET", job, "name", "data", "opts", "timestamp", "delay", "priority")
      if held[1] and held[2] and held[3] and held[4] and held[5] and held[6] then
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
        return { done_up_to == 13 and { OK } or {},
          { next_id, held[1], held[2], held[3], held[4], held[5], held[6], 0 }, 0, "0", {}, 0 }
      end
    end
  end
end
