--[[ remove_orphans: delete jobs that are in no list and no set of their queue.

KEYS    1 base      "<prefix>:<queue>:"
ARGV    1…          ids of keys that may be jobs, up to 200
RETURN  {looked at, deleted}: how many ids; those not looked at are for the next call
EVENTS  none
USES    queue, states, whereabouts, delete
COST    up to 20 commands per id, and a search of the lists for each that is in no set: as many as look at 50,000
        elements, and at least one
]]
local length, searched = elements_of_lists(), 0

-- A key that has nothing of a job belongs to somebody else: a private hash, or the set `failed` of a queue whose prefix
-- begins like our base key.
local PART_TYPES = { logs = "list", dependencies = "set", processed = "hash", failed = "hash", unsuccessful = "zset",
  lock = "string" }
local function may_be_job(job)
  for part, kind in pairs(PART_TYPES) do
    local found = call("TYPE", job .. ":" .. part).ok
    if found ~= "none" and found ~= kind then return false end
  end
  local kind = call("TYPE", job).ok
  if kind ~= "hash" then return kind == "none" end
  local held = call("HMGET", job, "name", "data", "ats", "atm", "progress", "finishedOn")
  for i = 1, 6 do
    if held[i] then return true end
  end
  return false
end

local orphans, locks, looked_at = {}, {}, 0
for n, id in ipairs(ARGV) do
  local job = base .. id
  if not is_in_a_set(id) and may_be_job(job) then
    if searched > 0 and searched + length > 50000 then break end
    searched = searched + length
    if not is_in_a_list(id) then
      orphans[#orphans + 1] = job
      locks[#locks + 1] = job .. ":lock"
    end
  end
  looked_at = n
end
delete_jobs(orphans)
if #locks > 0 then call("DEL", unpack(locks)) end
return { looked_at, #orphans }
