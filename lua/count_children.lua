--[[ count_children: how many children a job has, by their outcome.

KEYS    1 base      "<prefix>:<queue>:"
ARGV    1 id        the job
RETURN  {processed, unprocessed, ignored, failed}
EVENTS  none
USES    queue
COST    four commands
]]
local job = base .. ARGV[1]
return { call("HLEN", job .. ":processed"), call("SCARD", job .. ":dependencies"), call("HLEN", job .. ":failed"),
  call("ZCARD", job .. ":unsuccessful") }
