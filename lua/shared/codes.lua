-- The result codes of one item of a batch. `Reason` in src/error.rs has the same numbers.
local OK = 0
local MISSING_JOB = -1
local MISSING_LOCK = -2
local NOT_IN_STATE = -3
local PENDING_DEPENDENCIES = -4
local MISSING_PARENT = -5
local LOCK_MISMATCH = -6
local PARENT_CANNOT_BE_REPLACED = -7
local BELONGS_TO_SCHEDULER = -8
local FAILED_CHILDREN = -9
local SCHEDULER_JOB_EXISTS = -10
local SCHEDULER_SLOTS_BUSY = -11
local PART_OF_FLOW = -12
local ID_TAKEN = -13
local WRONG_TYPE = -50
