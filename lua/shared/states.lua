-- Where a job can be: in one of the lists, or in one of the sorted sets.
local LISTS, IS_LIST = { "wait", "paused", "active" }, { wait = true, paused = true, active = true }
local ZSETS = { "completed", "failed", "delayed", "prioritized", "waiting-children" }
