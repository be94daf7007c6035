--[[ examine_jobs: find out what is wrong with jobs of which some key was found.

KEYS    1 base      "<prefix>:<queue>:"
ARGV    1…          ids, up to 200
RETURN  {looked at, a number for each of these}: 0 nothing; a sum of 1 a job in no list and no set, 2 a lock of a job that
        is not active, 4 parts of a job that does not exist. Ids that were not looked at are for the next call
EVENTS  none
USES    queue, states, whereabouts, is_job
COST    some ten commands per id, and a search of the lists for each job that is in no set: as many as look at 50,000
        elements, and at least one
]]
local length, searched = elements_of_lists(), 0

-- A key of another type belongs to somebody else.
local PART_TYPES = { logs = "list", dependencies = "set", processed = "hash", failed = "hash", unsuccessful = "zset" }
local function has_parts(job)
  for part, kind in pairs(PART_TYPES) do
    if call("TYPE", job .. ":" .. part).ok == kind then return true end
  end
  return false
end

local answers = {}
for n, id in ipairs(ARGV) do
  local job, answer = base .. id, 0
  local exists = is_job(job)
  if exists and not is_in_a_set(id) then
    if searched > 0 and searched + length > 50000 then break end
    searched = searched + length
    if not is_in_a_list(id) then answer = 1 end
  elseif exists == false and has_parts(job) then
    answer = 4
  end
  if call("TYPE", job .. ":lock").ok == "string" and not call("LPOS", ACTIVE, id) then answer = answer + 2 end
  answers[n] = answer
end
return { #answers, answers }
