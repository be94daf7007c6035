--[[ remove_orphans: delete jobs that are in no list and in no set of their queue.

KEYS    1 base      "<prefix>:<queue>:"
ARGV    1…          ids of keys that may be jobs, up to 500
RETURN  how many of them were deleted
EVENTS  none
USES    queue, release, detach
COST    one pass over the lists, and up to 15 commands per id
]]
local found = {}
for _, list in ipairs({ "wait", "paused", "active" }) do
  local from = 0
  repeat
    local ids = call("LRANGE", base .. list, digits(from), digits(from + 4999))
    for _, id in ipairs(ids) do found[id] = true end
    from = from + 5000
  until #ids < 5000
end

local function is_referenced(id)
  if found[id] then return true end
  for _, zset in ipairs({ "completed", "failed", "delayed", "prioritized", "waiting-children" }) do
    if call("ZSCORE", base .. zset, id) then return true end
  end
  return false
end

-- What has nothing of a job is somebody else's, whatever its name: a private hash, or the set `failed` of a queue whose
-- prefix begins like our base key.
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

local orphans, locks = {}, {}
for _, id in ipairs(ARGV) do
  local job = base .. id
  if not is_referenced(id) and may_be_job(job) then
    orphans[#orphans + 1] = job
    locks[#locks + 1] = job .. ":lock"
  end
end
delete_jobs(orphans)
if #locks > 0 then call("DEL", unpack(locks)) end
return #orphans
