--[[ find_finish: search the event stream, newest first, for the outcome of jobs that were removed.

KEYS    1 base      "<prefix>:<queue>:"
ARGV    1 from      the id of the event before which to look, or "+" for the newest
        2 count     how many events to look at
        3…          the ids of the jobs
RETURN  the server's time in ms, or "" where the ACL forbids TIME; the id of the last event looked at, or "" if the
        stream has none before it; then four items for each event that changed the state of one of the jobs, newest
        first: its id, its name, the position of the job in ARGV (from 1), and the return value (JSON) or reason
EVENTS  none
USES    queue
COST    two commands for every 50 events; at most 500 events and 1,000 jobs
]]
local VALUE_OF = { added = "", waiting = "", active = "", delayed = "", prioritized = "", stalled = "", removed = "",
  ["waiting-children"] = "", completed = "returnvalue", failed = "failedReason" }
local wanted = {}
for i = 3, #ARGV do wanted[ARGV[i]] = i - 2 end
local now = redis.pcall("TIME")
local answer = { now.err and "" or digits(now[1] * 1000 + math.floor(now[2] / 1000)), "" }
local from, left = ARGV[1], tonumber(ARGV[2])
if from ~= "+" then from = "(" .. from end
while left > 0 do
  -- In small steps, so that few return values are in memory at once.
  local entries = call("XREVRANGE", EVENTS, from, "-", "COUNT", math.min(left, 50))
  if #entries == 0 then
    answer[2] = ""
    break
  end
  for _, entry in ipairs(entries) do
    local fields = {}
    local flat = entry[2]
    for i = 1, #flat, 2 do fields[flat[i]] = flat[i + 1] end
    local value, position = VALUE_OF[fields.event], wanted[fields.jobId]
    if value and position then
      local n = #answer
      answer[n + 1], answer[n + 2], answer[n + 3], answer[n + 4] = entry[1], fields.event, position, fields[value] or ""
    end
  end
  answer[2] = entries[#entries][1]
  from, left = "(" .. answer[2], left - #entries
end
return answer
