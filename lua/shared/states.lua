-- The lists and the sorted sets that hold the ids of jobs.
local LISTS, IS_LIST = { "wait", "paused", "active" }, { wait = true, paused = true, active = true }
local ZSETS = { "completed", "failed", "delayed", "prioritized", "waiting-children" }
