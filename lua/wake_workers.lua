--[[ wake_workers: write the marker again: a closing worker may have popped it without fetching a job.

KEYS    1 base      "<prefix>:<queue>:"
RETURN  1
EVENTS  none
USES    codes, queue, settings, wake
COST    one pass of reads, at most two writes
]]
if call("LLEN", WAIT) + call("ZCARD", PRIORITIZED) > 0 then wake() end
wake_when_due()
return 1
