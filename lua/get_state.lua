--[[ get_state: the state of a job.

KEYS    1 base      "<prefix>:<queue>:"
ARGV    1 id        the job
RETURN  name of the state, or "unknown"
EVENTS  none
USES    queue, state_of
COST    five lookups; then a pass over each list until the job is found
]]
return state_of(ARGV[1])
