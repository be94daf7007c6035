-- One job that simply completed, and the next one if it is fresh: the shortest batch has a way of its own, since what
-- follows serves any batch and would cost it more than its commands do. It either answers the call or has changed nothing.
-- A second key asks for the long way, so that tests can compare the two.
--
-- Every command counts here, and every function. A key of a wrong type shows by a read, or by a write that is taken back,
-- and what follows fails on it before it has written anything.

-- The newest event of an outcome or of a job that was handed out, by which a worker knows a server that has fallen back.
local newest_event = ""

if not KEYS[2] and ARGV[6] == "" and ARGV[8] == "" and (#ARGV == 8 or #ARGV == 14 and ARGV[9] == "done") then
  local pcall = redis.pcall
  local meta = call("HMGET", META, "paused", "concurrency", "max", "opts.maxLenEvents")
  local cap, id, value = meta[4], ARGV[13], ARGV[14]
  local job = id and base .. id
  if not meta[1] and not meta[2] and not meta[3] and cap and #cap < 16 and string.find(cap, "^[1-9]%d*$")
    and call("ZCARD", DELAYED) == 0
    -- A job counts more than its relatives and what is cancelled: four says that it is there, and nothing else.
    and (not id
      or call("EXISTS", job, job, job, job, job .. ":dependencies", job .. ":unsuccessful", base .. "oxmq:cancels") == 4
      and pcall("HEXISTS", job, "parentKey") == 0 and pcall("GET", job .. ":lock") == ARGV[10]) then
    -- The job to hand out is taken first, which also says whether there is one.
    local wants_one, wants_none = ARGV[2] == "1" or ARGV[2] == "-1", ARGV[2] == "0"
    local waiting, next_id, next_job, held = wants_one and 1 or call("LLEN", WAIT), false, nil, nil
    if waiting == 1 and (wants_one or not wants_none and call("ZCARD", PRIORITIZED) == 0) then
      next_id = pcall("RPOPLPUSH", WAIT, ACTIVE)
      if type(next_id) == "string" then
        next_job = base .. next_id
        if next_id ~= id and pcall("HLEN", next_job) == 6 and string.sub(next_id, 1, 2) ~= "0:" then
          held = call("HMGET", next_job, "name", "data", "opts", "timestamp", "delay", "priority")
        end
      elseif not next_id then
        waiting = 0
      end
    end
    -- What can be answered here: a fresh job, no job where none waits, or none where none is wanted.
    local is_fresh = held and held[1] and held[2] and held[3] and held[4] and held[5] == "0" and held[6] == "0"
    local is_empty = waiting == 0 and pcall("ZCARD", PRIORITIZED) == 0
    -- Where a job has gone there, `active` is known to be a list.
    local running = not next_id and pcall("LLEN", ACTIVE)
    local event, is_done = "", is_fresh or type(running) == "number" and (is_empty or wants_none)

    -- Moves the id from `active` to `completed` and announces it; all or nothing.
    if id and is_done then
      local stalled, finished = base .. "stalled", base .. "completed"
      local was_marked, was_added = pcall("SREM", stalled, id), false
      if type(was_marked) == "number" then was_added = pcall("ZADD", finished, "NX", ARGV[1], id) == 1 end
      event = was_added and pcall("XADD", EVENTS, "MAXLEN", "~", cap, "*", "event", "completed", "jobId", id,
        "returnvalue", value, "prev", "active")
      if type(event) == "string" and call("LREM", ACTIVE, "-1", id) == 1 then
        call("DEL", job .. ":lock")
        call("HSET", job, "returnvalue", value, "finishedOn", ARGV[1], "atm", ARGV[11])
      else
        if type(event) == "string" then call("XDEL", EVENTS, event) end
        if was_added then call("ZREM", finished, id) end
        if was_marked == 1 then call("SADD", stalled, id) end
        is_done = false
      end
    end

    local started = is_done and is_fresh
      and pcall("XADD", EVENTS, "*", "event", "active", "jobId", next_id, "prev", "waiting")
    if type(started) == "string" then
      -- As whoever finds no prioritized job; one who wants no more does not look.
      if not wants_one then call("DEL", PC) end
      if ARGV[3] ~= "0" then call("SET", next_job .. ":lock", ARGV[3], "PX", ARGV[4]) end
      if ARGV[5] ~= "" then
        call("HSET", next_job, "processedOn", ARGV[1], "ats", "1", "pb", ARGV[5])
      else
        call("HSET", next_job, "processedOn", ARGV[1], "ats", "1")
      end
      pcall("ZADD", MARKER, "0", "0")
      if id then return { next_id, held[1], held[2], held[3], held[4], 0, OK, started, 0, 0, 0, 0, 1 } end
      return { next_id, held[1], held[2], held[3], held[4], 0, started, 0, 0, 0, 0, 0 }
    end
    if is_done and not is_fresh then
      if is_empty and not wants_none then call("DEL", PC) end
      if is_empty and id and running == 1 then call("XADD", EVENTS, "*", "event", "drained") end
      if id then return { OK, event, 0, 0, 0, 0, 1 } end
      return { "", 0, 0, 0, 0, 0 }
    end
    if type(next_id) == "string" then call("LMOVE", ACTIVE, WAIT, "LEFT", "RIGHT") end
  end
end
