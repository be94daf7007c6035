--[[ probe_jobs: whether jobs with these ids exist, and whether they are locked.

KEYS    1 base      "<prefix>:<queue>:"
ARGV    1…          ids, up to 500
RETURN  a number for each: a sum of 1 a job exists, or a key of another type in its place, and 2 it has a lock
EVENTS  none
USES    queue, is_job
COST    two or three commands per id
]]
local answers = {}
for n, id in ipairs(ARGV) do
  answers[n] = (is_job(base .. id) == false and 0 or 1) + 2 * call("EXISTS", base .. id .. ":lock")
end
return answers
