--[[ remove_child: separate a pending child from its parent; both jobs stay.

KEYS    1 base      "<prefix>:<queue>:" of the child
ARGV    1 id        the child
        2 parent    the parent's job key
RETURN  1 done, 0 the parent does not wait for this child; or MISSING_JOB, MISSING_PARENT
EVENTS  waiting {jobId, prev} in the parent's queue, if this was its last pending child
USES    codes, queue, settings, wake, number, prioritize, delay, ready, homes, states, check_queue, job_key, release,
        detach
COST    ten commands
]]
local job, parent = base .. ARGV[1], ARGV[2]
if call("HLEN", job) == 0 then return MISSING_JOB end
if call("EXISTS", parent) == 0 then return MISSING_PARENT end
local home = split_key(parent)
if home then check_queue(home) end
if call("SISMEMBER", parent .. ":dependencies", job) == 0 then return 0 end
detach(job, parent)
call("HDEL", job, "parentKey", "parent")
return 1
