--[[ open_queue: write the library's version and the event stream's cap to `meta`.

KEYS    1 base      "<prefix>:<queue>:"
ARGV    1 version   begins with "bullmq", as dashboards expect
        2 cap       of the event stream; empty keeps the present one, or sets the default
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
