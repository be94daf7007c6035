--[[ save_cursor: store how far a consumer has read the events; a cursor never moves back.

KEYS    1 base      "<prefix>:<queue>:"
ARGV    1 cursor    its name
        2 ms        of the event's id: its time
        3 number    of the event's id: its number within that ms
RETURN  1 if it was stored, 0 if the cursor is there or further already
EVENTS  none
USES    queue
COST    two commands
]]
local key, field = base .. "oxmq:cursors", "cursor:" .. ARGV[1]
local ms, number = string.match(call("HGET", key, field) or "", "^(%d+)%-(%d+)$")
local behind = not ms or tonumber(ms) < tonumber(ARGV[2])
  or tonumber(ms) == tonumber(ARGV[2]) and tonumber(number) < tonumber(ARGV[3])
if not behind then return 0 end
call("HSET", key, field, ARGV[2] .. "-" .. ARGV[3])
return 1
