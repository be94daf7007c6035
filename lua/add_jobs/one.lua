-- The short way for one plain job on a queue that is in use. The long way below serves any batch, and preparing it
-- would cost one job more than its commands do. The short way adds the job, or changes nothing and leaves it to the
-- long way. With a second key in KEYS the long way is always taken, so that tests can compare the two.
--
-- Every command counts here, so keys are not checked first: a key of a wrong type shows in a write that fails, the
-- writes before it are undone, and the long way then fails before its first write.
local function add_one()
  local meta = call("HMGET", META, "paused", "concurrency", "opts.maxLenEvents", "version")
  local id, cap = ARGV[2], meta[3]
  if not cap or #cap > 15 or not string.find(cap, "^%d+$") then return nil end
  if id ~= "" and call("EXISTS", base .. id) == 1 then return nil end
  local is_open = not meta[1] and (not meta[2] or call("LLEN", ACTIVE) < tonumber(meta[2]))
  local push, pop = "LPUSH", "LPOP"
  if ARGV[1] == "l" then push, pop = "RPUSH", "RPOP" end
  local number = call("INCR", base .. "id")
  if id == "" then id = digits(number) end
  local job, pushed, marked = base .. id, false, 0
  -- Only a changed counter gives a number that is taken; the long way finds a free one.
  if ARGV[2] ~= "" or call("EXISTS", job) == 0 then
    pushed = type(redis.pcall(push, WAIT, id)) == "number"
    if pushed and is_open then marked = redis.pcall("ZADD", MARKER, "0", "0") end
    if pushed and type(marked) == "number"
      and type(redis.pcall("XADD", EVENTS, "*", "event", "added", "jobId", id, "name", ARGV[3])) == "string" then
      call("XADD", EVENTS, "MAXLEN", "~", cap, "*", "event", "waiting", "jobId", id)
      call("HSET", job, "name", ARGV[3], "data", ARGV[4], "opts", ARGV[5], "timestamp", ARGV[6], "delay", "0",
        "priority", "0")
      -- As the long way answers for a queue whose settings are not complete.
      if not meta[4] then return { id, 1 } end
      return id
    end
  end
  if marked == 1 then call("ZREM", MARKER, "0") end
  if pushed then call(pop, WAIT) end
  call("DECR", base .. "id")
end

if #ARGV == 6 and (ARGV[1] == "w" or ARGV[1] == "l") and not KEYS[2] then
  local added = add_one()
  if added then return added end
end
