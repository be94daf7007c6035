-- Writes an event about a job to the event stream, and trims the stream to its cap.
local function announce(event, id, ...)
  keep_cap()
  call("XADD", EVENTS, "MAXLEN", "~", settings.cap, "*", "event", event, "jobId", id, ...)
end
