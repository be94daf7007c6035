-- The short way for one job that simply completed, and the next job if it is fresh. The long way below serves any
-- batch, and preparing it would cost one job more than its commands do. The short way answers the call, or changes
-- nothing and leaves it to the long way. With a second key in KEYS the long way is always taken, so that tests can
-- compare the two.
--
-- Every command and every function counts here. A key of a wrong type shows in a read, or in a write that fails; then
-- the writes before it are undone, and the long way fails before its first write.

-- The newest event of a completion or of a job handed out. A worker tells by it that a failover has brought back an
-- older state.
local newest_event = ""

if not KEYS[2] and ARGV[6] == "" and ARGV[8] == "" and (#ARGV == 8 or #ARGV == 14 and ARGV[9] == "done") then
  local pcall = redis.pcall
  local meta = call("HMGET", META, "paused", "concurrency", "max", "opts.maxLenEvents")
  local cap, id, value = meta[4], ARGV[13], ARGV[14]
  local job = id and base .. id
  if not meta[1] and not meta[2] and not meta[3] and cap and #cap < 16 and string.find(cap, "^[1-9]%d*$")
    and call("ZCARD", DELAYED) == 0
    -- EXISTS counts a key as often as it is named. So 4 means that the job exists, and that nothing else does.
    and (not id
      or call("EXISTS", job, job, job, job, job .. ":dependencies", job .. ":unsuccessful", base .. "oxmq:cancels") == 4
      and pcall("HEXISTS", job, "parentKey") == 0 and pcall("GET", job .. ":lock") == ARGV[10]) then
    -- The job to hand out is taken first, which also tells whether there is one.
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
    -- The short way can answer with a fresh job, with no job where none waits, or with none where none is wanted.
    local is_fresh = held and held[1] and held[2] and held[3] and held[4] and held[5] == "0" and held[6] == "0"
      and #next_id < 256 and #held[1] < 256 and #held[4] < 256 and #held[3] < 65536
    local is_empty = waiting == 0 and pcall("ZCARD", PRIORITIZED) == 0
    -- If a job was moved to `active`, its type is known to be a list.
    local running = not next_id and pcall("LLEN", ACTIVE)
    local event, is_done = "", is_fresh or type(running) == "number" and (is_empty or wants_none)

    -- Moves the id from `active` to `completed` and announces it, or changes nothing.
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
      -- As `take` does when it finds no prioritized job; a call that has its one job does not look.
      if not wants_one then call("DEL", PC) end
      if ARGV[3] ~= "0" then call("SET", next_job .. ":lock", ARGV[3], "PX", ARGV[4]) end
      if ARGV[5] ~= "" then
        call("HSET", next_job, "processedOn", ARGV[1], "ats", "1", "pb", ARGV[5])
      else
        call("HSET", next_job, "processedOn", ARGV[1], "ats", "1")
      end
      pcall("ZADD", MARKER, "0", "0")
      -- As `take` returns a job, with data of at most 2,048 bytes in one text with the rest.
      local name, data, opts, moment = held[1], held[2], held[3], held[4]
      local lengths = #next_id + 256 * #name + 65536 * #moment + 16777216 * #opts
      if #data > 2048 then return { next_id .. name .. moment .. opts, -lengths, data, started } end
      return { next_id .. name .. moment .. opts .. data, lengths, started }
    end
    if is_done and not is_fresh then
      if is_empty and not wants_none then call("DEL", PC) end
      if is_empty and id and running == 1 then call("XADD", EVENTS, "*", "event", "drained") end
      return { event }
    end
    if type(next_id) == "string" then call("LMOVE", ACTIVE, WAIT, "LEFT", "RIGHT") end
  end
end
