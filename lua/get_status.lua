--[[ get_status: a job and its state, read together.

KEYS    1 base      "<prefix>:<queue>:"
ARGV    1 id        the job
RETURN  {state, fields}: the name of the state or "unknown", and the fields of the hash, each followed by its value; nothing
        if there is no such job
EVENTS  none
USES    queue, state_of
COST    an HGETALL and what get_state costs
]]
local fields = call("HGETALL", base .. ARGV[1])
if #fields == 0 then return {} end
return { state_of(ARGV[1]), fields }
