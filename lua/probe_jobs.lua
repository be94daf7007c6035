--[[ probe_jobs: whether there are jobs with these ids, and whether somebody holds them.

KEYS    1 base      "<prefix>:<queue>:"
ARGV    1…          ids, up to 500
RETURN  a number for each: the sum of 1 there is a job, or a key that is none, and 2 it has a lock
EVENTS  none
USES    queue, is_job
COST    two or three commands per id
]]
local answers = {}
for n, id in ipairs(ARGV) do
  answers[n] = (is_job(base .. id) == false and 0 or 1) + 2 * call("EXISTS", base .. id .. ":lock")
end
return answers
