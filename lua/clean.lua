--[[ clean: remove jobs of one state that are old enough.

KEYS    1 base      "<prefix>:<queue>:"
ARGV    1 state     suffix of the key: "wait", "paused", "active", or any of the sorted sets
        2 until     ms; jobs up to this moment are removed
        3 limit     how many jobs may still be removed
        4 kept      how many jobs earlier calls have looked at and kept
        5 removed   how many jobs earlier calls have removed
RETURN  {done, kept, ids}: whether that was all, `kept` for the next call, and the removed jobs
EVENTS  cleaned {count} in the last call
USES    queue, settings, wake, number, prioritize, delay, ready, homes, states, check_queue, job_key, release, delete,
        erase, cut
COST    looks at no more than 200 jobs; ten commands for each job removed
]]
local SPAN = 200
local state, oldest, limit, kept = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
local key, is_list, by_id = base .. state, IS_LIST[ARGV[1]], state == "delayed" or state == "prioritized"
check_queue(base)

-- In a list the end that runs next is looked at first, as its jobs are the oldest.
local ids
if is_list then
  ids = call("LRANGE", key, digits(-kept - SPAN), digits(-kept - 1))
elseif by_id then
  ids = call("ZRANGE", key, digits(kept), digits(kept + SPAN - 1))
else
  ids = call("ZRANGEBYSCORE", key, "0", ARGV[2], "LIMIT", "0", digits(math.min(SPAN, limit)))
end

-- The positions of fields in the answer of `look_up`.
local SCHEDULER, TIMESTAMP, PROCESSED, FINISHED = 3, 4, 5, 6
local function is_removable(id, held)
  if not is_list and not by_id then return true end
  if held[SCHEDULER] and held[SCHEDULER] ~= "" and is_pending_run(id) then return false end
  if state == "active" and call("EXISTS", base .. id .. ":lock") == 1 then return false end
  local since = held[TIMESTAMP]
  if state ~= "prioritized" then since = held[PROCESSED] or since end
  if is_list then since = held[FINISHED] or since end
  since = tonumber(since or "")
  return not since or since <= oldest
end

local gone, positions, fields, looked_at = {}, {}, {}, 0
for n = 1, #ids do
  -- The last id of the list is the oldest; positions count from there.
  local place = is_list and #ids + 1 - n or n
  local id = ids[place]
  looked_at = n
  local held = look_up(id)
  if is_removable(id, held) then
    gone[#gone + 1], fields[#fields + 1], positions[#positions + 1] = id, held, -kept - n
    if #gone == limit then break end
  end
end

if #gone > 0 then
  for n, id in ipairs(gone) do erase(id, fields[n]) end
  if is_list then
    cut(key, true, kept + looked_at, positions)
  else
    call("ZREM", key, unpack(gone))
  end
  delete_erased()
  if state == "active" then wake_for_place() end
end
local done = #gone == limit or #ids < SPAN
if done then
  call("XADD", EVENTS, "*", "event", "cleaned", "count", digits(tonumber(ARGV[5]) + #gone))
end
-- Node lists the removed jobs of a list from its head.
if is_list then
  for i = 1, math.floor(#gone / 2) do gone[i], gone[#gone + 1 - i] = gone[#gone + 1 - i], gone[i] end
end
return { done and 1 or 0, kept + looked_at - #gone, gone }
