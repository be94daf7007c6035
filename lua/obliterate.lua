--[[ obliterate: delete a paused queue and everything in it.

KEYS    1 base      "<prefix>:<queue>:"
ARGV    1 count     how many jobs and schedulers to delete in this call, up to 200
        2 force     "1" to delete active jobs too
RETURN  0 done, 1 call again, -1 refused: the queue is not paused, -2 refused: it has active jobs
EVENTS  none; a parent in another queue is released without an event
USES    queue, settings, wake, number, prioritize, delay, ready, homes, states, check_queue, job_key, release, delete,
        erase
COST    up to 15 commands per job
]]
local left, force = tonumber(ARGV[1]), ARGV[2] == "1"
check_queue(base)
-- No settings means that nothing is left: an earlier call whose reply was lost has deleted them.
if call("EXISTS", META) == 0 then return 0 end
if call("HEXISTS", META, "paused") == 0 then return -1 end
if not force and call("LLEN", ACTIVE) > 0 then return -2 end

local work = {}
local PHASES = { "active", "delayed", "repeat", "completed", "wait", "paused", "prioritized", "failed", "waiting-children" }
for _, name in ipairs(PHASES) do
  local ids = call(IS_LIST[name] and "LRANGE" or "ZRANGE", base .. name, "0", digits(left - 1))
  local held = {}
  for i, id in ipairs(ids) do held[i] = name == "repeat" or look_up(id) end
  work[#work + 1] = { name = name, ids = ids, held = held }
  left = left - #ids
  if left <= 0 then break end
end

for _, part in ipairs(work) do
  local name, ids, keys = part.name, part.ids, {}
  if #ids > 0 then
    for i, id in ipairs(ids) do
      if name == "repeat" then
        keys[i] = base .. "repeat:" .. id
      else
        erase(id, part.held[i])
        if name == "active" then keys[i] = base .. id .. ":lock" end
      end
    end
    if #keys > 0 then call("DEL", unpack(keys)) end
    if IS_LIST[name] then
      call("LTRIM", base .. name, digits(#ids), "-1")
    else
      call("ZREM", base .. name, unpack(ids))
    end
  end
end
delete_erased()
if left <= 0 then return 1 end

local rest = {}
for _, name in ipairs({ "meta", "id", "pc", "marker", "events", "stalled", "stalled-check", "limiter", "delay",
  "metrics:completed", "metrics:completed:data", "metrics:failed", "metrics:failed:data", "oxmq:cancels",
  "oxmq:schedulers-check", "oxmq:cursors" }) do
  rest[#rest + 1] = base .. name
end
call("DEL", unpack(rest))
return 0
