--[[ scan_jobs: search some jobs of one state for those that match a filter.

KEYS    1 base      "<prefix>:<queue>:"
ARGV    1 what      "count", "ids" or "jobs"
        2…14        the request, as the piece `search` lists it
RETURN  {done, after, after_id, length, looked at, highest score, items}: whether the end was
        reached, else where to go on; how many jobs the state has; and the ids, or id and hash in turn, or for a count
        "" for each job
EVENTS  none
USES    queue, states, search
COST    one or two commands for each place looked at; some twenty more to go on in a sorted set
]]
local what, items, asked = ARGV[1], {}, {}
for i = 1, SEARCH_FIELDS do asked[i] = ARGV[i + 1] end

local reply = search(asked, function(id)
  items[#items + 1] = what == "count" and "" or id
  if what ~= "jobs" then return 0 end
  local fields, bytes = call("HGETALL", base .. id), 0
  items[#items + 1] = fields
  for i = 2, #fields, 2 do bytes = bytes + #fields[i] end
  return bytes
end)
reply[#reply + 1] = items
return reply
