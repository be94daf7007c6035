--[[ open_queue: introduce this library in the queue's settings.

KEYS    1 base      "<prefix>:<queue>:"
ARGV    1 version   text that begins with "bullmq", as dashboards expect
        2 cap       length of the event stream; empty leaves what is there, or sets the default
RETURN  1
EVENTS  none
USES    queue
COST    two commands
]]
call("HSET", META, "version", ARGV[1])
if ARGV[2] == "" then
  call("HSETNX", META, "opts.maxLenEvents", DEFAULT_CAP)
else
  call("HSET", META, "opts.maxLenEvents", ARGV[2])
end
return 1
