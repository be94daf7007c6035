-- Adds the follower of a finished job: the latest add that was set aside while that job was active. Returns its
-- options.
local function place_follower(id, follower, now)
  local known, opts = pcall(cjson.decode, follower.opts or "{}")
  if not known or type(opts) ~= "table" then opts = {} end
  local delay, priority = number_of(opts.delay), number_of(opts.priority)
  store_job({
    id = id, name = follower.name or "", data = follower.data or "{}", opts = follower.opts or "{}",
    timestamp = digits(now), delay = digits(delay), priority = digits(priority), rjk = follower.rjk,
    parent = follower.pk and { key = follower.pk, json = follower.pd or "" }, de = { id = follower.deid },
  })
  if delay ~= 0 then
    put_delayed(id, due_time(now, delay))
  else
    put_ready(id, math.max(0, priority), opts.lifo)
    announce("waiting", id)
  end
  return opts
end

-- Returns whether every key that `end_deduplication` may write to has the right type.
local function can_end_deduplication(deid)
  return pcall(function()
    call("STRLEN", base .. "de:" .. deid)
    local counter = call("GET", base .. "id")
    local stash = call("HMGET", base .. "dn:" .. deid, "jid", "pdk")
    -- A follower without an id of its own takes the next number.
    if (not stash[1] or stash[1] == "") and call("EXISTS", base .. "dn:" .. deid) == 1
      and counter and (#counter > 15 or not string.find(counter, "^%-?%d+$")) then
      error("the counter is no number")
    end
    if stash[2] then call("SCARD", stash[2]) end
  end)
end

-- Returns the id of a follower, or nothing if a job that was added later has it. A number of the queue's counter that
-- is taken is replaced by the next free one.
local function id_of_follower(follower)
  local number, own = redis.pcall("INCR", base .. "id"), follower.jid
  if not own or own == "" then return past_taken(digits(number)) end
  if not is_taken(own, base .. own) then return own end
  if type(number) == "number" and string.find(own, "^%d+$") then return past_taken(digits(number)) end
  announce("duplicated", own)
end

-- Ends the deduplication of a job that has finished: its deduplication id becomes free, unless a time to live still
-- runs, and the follower is added.
local function end_deduplication(id, deid, now)
  local owner, stash = base .. "de:" .. deid, base .. "dn:" .. deid
  local ttl = call("PTTL", owner)
  if ttl == 0 or (ttl == -1 and call("GET", owner) == id) then call("DEL", owner) end
  local pairs_held = call("HGETALL", stash)
  if #pairs_held == 0 then return end
  local follower = { deid = deid }
  for i = 1, #pairs_held, 2 do follower[pairs_held[i]] = pairs_held[i + 1] end
  keep_cap()
  call("DEL", stash)
  local new_id = id_of_follower(follower)
  if not new_id then return end
  local opts = place_follower(new_id, follower, now)
  local de = type(opts.de) == "table" and opts.de or {}
  local life = math.ceil(math.min(number_of(de.ttl), MOST))
  if life > 0 and not de.keepLastIfActive then
    call("SET", owner, new_id, "PX", digits(life))
  else
    call("SET", owner, new_id)
  end
  if follower.pdk then call("SADD", follower.pdk, base .. new_id) end
end
