-- The outcomes of an add; `Placed` in src/script/add_jobs.rs has the same numbers.
local CREATED, EXISTING, DEDUPLICATED, SET_ASIDE, REPLACED = 0, 1, 2, 3, 4
