--[[ save_cursor: remember how far a reader of the events has come; never further back than it was.

KEYS    1 base      "<prefix>:<queue>:"
ARGV    1 cursor    its name
        2 ms        the event's id: the time,
        3 number    and the number within it
RETURN  1 if it was stored, 0 if the reader was there already
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
