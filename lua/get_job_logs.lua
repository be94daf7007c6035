--[[ get_job_logs: lines of a job's log.

KEYS    1 base      "<prefix>:<queue>:"
ARGV    1 id        the job
        2 start     first line
        3 end       last line, inclusive
RETURN  {lines stored, array of the lines asked for}
EVENTS  none
USES    queue
COST    two commands
]]
local logs = base .. ARGV[1] .. ":logs"
return { call("LLEN", logs), call("LRANGE", logs, ARGV[2], ARGV[3]) }
