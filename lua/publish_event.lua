--[[ publish_event: write a custom event.

KEYS    1 base      "<prefix>:<queue>:"
ARGV    1 name      the event's name
        2…          name and value of each further field, one after the other
RETURN  {id of the new entry, new}
        new is 1 if the settings of the queue were not complete: it had no version, or no cap of the event stream
EVENTS  the one given
USES    codes, queue, settings
COST    one pass of reads, at most two writes; at most 500 fields
]]
keep_cap()
-- Trims to the queue's own cap. Node's producer uses a fixed one, and so a single event could cut the history of all
-- others.
local id = call("XADD", EVENTS, "MAXLEN", "~", settings.cap, "*", "event", unpack(ARGV))
return { id, settings.is_complete and 0 or 1 }
