--[[ trace_flow: find out whether a flow was stored, after its reply was lost.

KEYS    1 base     "<prefix>:<queue>:", which every key of the queue begins with
ARGV    1 id       of a job of the flow; no other caller can have created it
        2 elapsed  ms since the flow was first sent, by the caller's monotonic clock
        3 most     how many events to search
RETURN  1 it was  0 it was not, or not yet  2 this can no longer be found out
EVENTS  none
USES    queue
COST    EXISTS, TIME, XREVRANGE of `most`, and three reads of the stream
]]
local id, most = ARGV[1], tonumber(ARGV[3])
if call("EXISTS", base .. id) == 1 then return 1 end
-- It may have run and been removed since. Then its `added` event is among the events since it was sent.
local time = call("TIME")
local since = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000) - tonumber(ARGV[2])
local events = call("XREVRANGE", EVENTS, "+", digits(since - 1000), "COUNT", ARGV[3])
for _, event in ipairs(events) do
  local named = {}
  for i = 1, #event[2], 2 do named[event[2][i]] = event[2][i + 1] end
  if named.event == "added" and named.jobId == id then return 1 end
end
if #events == most then return 2 end
-- Fewer events than asked for: all that is left of that time was read. It is complete if the stream goes back further,
-- or if no event was ever removed from it; servers before version 7 do not tell that.
local oldest = call("XRANGE", EVENTS, "-", "+", "COUNT", "1")[1]
local first = oldest and tonumber(string.match(oldest[1], "^%d+"))
if first and first <= since - 1000 or call("EXISTS", EVENTS) == 0 then return 0 end
local info, told = call("XINFO", "STREAM", EVENTS), {}
for i = 1, #info, 2 do told[info[i]] = info[i + 1] end
return told["entries-added"] == told.length and 0 or 2
