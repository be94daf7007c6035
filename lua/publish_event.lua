--[[ publish_event: write an event of the user's own.

KEYS    1 base      "<prefix>:<queue>:"
ARGV    1 name      the event's name
        2…          name and value of each further field, one after the other
RETURN  id of the new entry
EVENTS  the one given
USES    codes, queue, settings
COST    one pass of reads, at most two writes; at most 500 fields
]]
keep_cap()
-- The queue's own cap: with a fixed one, as Node's producer has it, one event would cut the history of all others.
return call("XADD", EVENTS, "MAXLEN", "~", settings.cap, "*", "event", unpack(ARGV))
