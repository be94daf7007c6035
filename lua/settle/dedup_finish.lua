-- Stores a job's hash and puts the job where it waits, as one more add: for the follower of a finished job.
local function place_follower(id, follower, now)
  local known, opts = pcall(cjson.decode, follower.opts or "{}")
  if not known or type(opts) ~= "table" then opts = {} end
  local delay, priority = number_of(opts.delay), number_of(opts.priority)
  local job = base .. id
  call("HSET", job, "name", follower.name or "", "data", follower.data or "{}", "opts", follower.opts or "{}",
    "timestamp", digits(now), "delay", digits(delay), "priority", digits(priority), "deid", follower.deid)
  if follower.pk then call("HSET", job, "parentKey", follower.pk, "parent", follower.pd or "") end
  if follower.rjk then call("HSET", job, "rjk", follower.rjk) end
  call("XADD", EVENTS, "*", "event", "added", "jobId", id, "name", follower.name or "")
  if delay ~= 0 then
    local due = due_time(now, delay)
    call("ZADD", DELAYED, digits(delayed_score(due)), id)
    settings.any_delayed = true
    call("XADD", EVENTS, "*", "event", "delayed", "jobId", id, "delay", digits(due))
    wake_when_due()
  else
    if priority > 0 then
      call("ZADD", PRIORITIZED, digits(priority_score(priority)), id)
    else
      call(opts.lifo and "RPUSH" or "LPUSH", WAIT, id)
    end
    wake()
    call("XADD", EVENTS, "*", "event", "waiting", "jobId", id)
  end
  return opts
end

-- Whether all that the end of a deduplication may write to has the type it should have.
local function can_end_deduplication(deid)
  return pcall(function()
    call("STRLEN", base .. "de:" .. deid)
    local counter = call("GET", base .. "id")
    local stash = call("HMGET", base .. "dn:" .. deid, "jid", "pdk")
    if stash[1] and stash[1] ~= "" then
      call("HLEN", base .. stash[1])
    elseif call("EXISTS", base .. "dn:" .. deid) == 1 then
      -- Its follower takes the next number.
      if counter and (#counter > 15 or not string.find(counter, "^%-?%d+$")) then error("the counter is no number") end
      call("HLEN", base .. digits((tonumber(counter) or 0) + 1))
    end
    if stash[2] then call("SCARD", stash[2]) end
  end)
end

-- The end of a job that owned a deduplication id: the id becomes free, unless a time to live still runs, and the
-- job that was set aside while this one was active is created now.
local function end_deduplication(id, deid, now)
  local owner, stash = base .. "de:" .. deid, base .. "dn:" .. deid
  local ttl = call("PTTL", owner)
  if ttl == 0 or (ttl == -1 and call("GET", owner) == id) then call("DEL", owner) end
  local pairs_held = call("HGETALL", stash)
  if #pairs_held == 0 then return end
  local follower = { deid = deid }
  for i = 1, #pairs_held, 2 do follower[pairs_held[i]] = pairs_held[i + 1] end
  keep_cap()
  local new_id = redis.pcall("INCR", base .. "id")
  if follower.jid and follower.jid ~= "" then new_id = follower.jid else new_id = digits(new_id) end
  local opts = place_follower(new_id, follower, now)
  local de = type(opts.de) == "table" and opts.de or {}
  local life = math.ceil(math.min(number_of(de.ttl), MOST))
  if life > 0 and not de.keepLastIfActive then
    call("SET", owner, new_id, "PX", digits(life))
  else
    call("SET", owner, new_id)
  end
  if follower.pdk then call("SADD", follower.pdk, base .. new_id) end
  call("DEL", stash)
end
