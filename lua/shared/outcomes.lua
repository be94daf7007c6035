-- What became of an add; `Added` in src/job says the same.
local CREATED, EXISTING, DEDUPLICATED, STASHED, REPLACED = 0, 1, 2, 3, 4
