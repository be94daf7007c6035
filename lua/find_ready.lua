--[[ find_ready: find out from the newest events whether a job has become ready since a moment.

KEYS    1 base      "<prefix>:<queue>:"
ARGV    1 id        of the job
        2 since     ms
RETURN  1 it has  0 it has not  -1 the newest events do not reach back so far
EVENTS  none
USES    queue
COST    one command, and a look at up to 1,000 events
]]
local MOST = 1000
local id, since = ARGV[1], tonumber(ARGV[2])
for _, entry in ipairs(call("XREVRANGE", EVENTS, "+", "-", "COUNT", digits(MOST))) do
  if tonumber(string.match(entry[1], "^%d+")) < since then return 0 end
  local event, job
  local fields = entry[2]
  for i = 1, #fields, 2 do
    if fields[i] == "event" then event = fields[i + 1] elseif fields[i] == "jobId" then job = fields[i + 1] end
  end
  if job == id then
    if event == "waiting" then return 1 end
    -- There are no older events of it.
    if event == "added" then return 0 end
  end
end
return -1
