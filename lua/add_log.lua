--[[ add_log: append lines to the log of a job.

KEYS    1 base      "<prefix>:<queue>:"
ARGV    1 id        the job
        2 keep      how many of the newest lines to keep; 0 for all
        3…          the lines
RETURN  how many lines the log has now, or MISSING_JOB
EVENTS  none
USES    codes, queue, is_job
COST    three commands
]]
local logs, keep = base .. ARGV[1] .. ":logs", tonumber(ARGV[2])
if is_job(base .. ARGV[1]) == false then return MISSING_JOB end
local lines = call("RPUSH", logs, unpack(ARGV, 3))
if keep == 0 then return lines end
call("LTRIM", logs, digits(-keep), "-1")
return math.min(keep, lines)
