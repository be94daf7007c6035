-- One job that simply completed, and the next one if it is fresh: the shortest batch has a way of its own, since what
-- follows serves any batch and would cost it more than its commands do. What it has not done is left to what follows,
-- which goes on after `done_up_to`. A second key asks for the long way, so that tests can compare the two.
--
-- Every command counts here. A key of a wrong type shows by a write that can be taken back, and what follows fails on it
-- before it has written anything.
local done_up_to = 8
-- The newest event of an outcome or of a job that was handed out, by which a worker knows a server that has fallen back.
local newest_event = ""

if not KEYS[2] and ARGV[6] == "" and ARGV[8] == "" and (#ARGV == 8 or #ARGV == 14 and ARGV[9] == "done") then
  local meta = call("HMGET", META, "paused", "concurrency", "max", "opts.maxLenEvents")
  local waiting, events = call("LLEN", WAIT), call("XLEN", EVENTS)
  local is_common = not meta[1] and not meta[2] and not meta[3] and meta[4] and #meta[4] < 16
    and string.find(meta[4], "^%d+$") and call("ZCARD", DELAYED) == 0
  local token, id, value = ARGV[10], ARGV[13], ARGV[14]

  -- Whether the outcome can be applied without a look at relatives, or at attempts that are cancelled.
  local function is_plain(job)
    local held = redis.pcall("HMGET", job, "ats", "parentKey")
    return not held.err and held[1] and not held[2] and call("GET", job .. ":lock") == token
      and call("EXISTS", job .. ":dependencies", job .. ":unsuccessful", base .. "oxmq:cancels") == 0
  end

  -- Moves the id from `active` to `completed`; all or nothing.
  local function move()
    local stalled, finished = base .. "stalled", base .. "completed"
    local was_marked = redis.pcall("SREM", stalled, id)
    if type(was_marked) ~= "number" then return false end
    if redis.pcall("ZADD", finished, "NX", ARGV[1], id) == 1 then
      if redis.pcall("LREM", ACTIVE, "-1", id) == 1 then return true end
      call("ZREM", finished, id)
    end
    if was_marked == 1 then call("SADD", stalled, id) end
    return false
  end

  if is_common and id then
    local job = base .. id
    if is_plain(job) and move() then
      call("DEL", job .. ":lock")
      if events > tonumber(meta[4]) then call("XTRIM", EVENTS, "MAXLEN", "~", meta[4]) end
      call("HSET", job, "returnvalue", value, "finishedOn", ARGV[1], "atm", ARGV[11])
      newest_event = call("XADD", EVENTS, "*", "event", "completed", "jobId", id, "returnvalue", value, "prev", "active")
      done_up_to = 14
    end
  end

  -- Hands out the one job that waits, or that is wanted; nil if that takes a closer look.
  local function hand_out(wants_one)
    local next_id = redis.pcall("RPOPLPUSH", WAIT, ACTIVE)
    if type(next_id) ~= "string" then return nil end
    local job = base .. next_id
    if redis.pcall("HLEN", job) == 6 and string.sub(next_id, 1, 2) ~= "0:" then
      local held = call("HMGET", job, "name", "data", "opts", "timestamp", "delay", "priority")
      if held[1] and held[2] and held[3] and held[4] and held[5] == "0" and held[6] == "0" then
        -- As whoever finds no prioritized job; one who wants no more does not look.
        if not wants_one then call("DEL", PC) end
        if ARGV[3] ~= "0" then call("SET", job .. ":lock", ARGV[3], "PX", ARGV[4]) end
        newest_event = call("XADD", EVENTS, "*", "event", "active", "jobId", next_id, "prev", "waiting")
        if ARGV[5] ~= "" then
          call("HSET", job, "processedOn", ARGV[1], "ats", "1", "pb", ARGV[5])
        else
          call("HSET", job, "processedOn", ARGV[1], "ats", "1")
        end
        redis.pcall("ZADD", MARKER, "0", "0")
        return { next_id, held[1], held[2], held[3], held[4], 0 }
      end
    end
    call("LMOVE", ACTIVE, WAIT, "LEFT", "RIGHT")
  end

  if is_common and (not id or done_up_to == 14) then
    local wants_one, wants_none = ARGV[2] == "1" or ARGV[2] == "-1", ARGV[2] == "0"
    local codes, jobs = id and { OK } or {}, nil
    if waiting > 0 and (wants_one or waiting == 1 and not wants_none and call("ZCARD", PRIORITIZED) == 0) then
      jobs = hand_out(wants_one)
    elseif waiting > 0 and wants_none then
      jobs = {}
    elseif waiting == 0 and call("ZCARD", PRIORITIZED) == 0 then
      jobs = {}
      if not wants_none then call("DEL", PC) end
      if id and call("LLEN", ACTIVE) == 0 then call("XADD", EVENTS, "*", "event", "drained") end
    end
    if jobs then return { codes, jobs, 0, "0", {}, 0, newest_event } end
  end
end
