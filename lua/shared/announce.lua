-- Tells what has happened to a job, in a stream that is kept within its cap.
local function announce(event, id, ...)
  keep_cap()
  call("XADD", EVENTS, "MAXLEN", "~", settings.cap, "*", "event", event, "jobId", id, ...)
end
