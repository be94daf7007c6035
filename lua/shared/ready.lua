-- Puts an id where ready jobs wait: by its priority, else at the end of the list, or with `first` at its front.
local function put_ready(id, priority, first)
  if priority ~= 0 then
    call("ZADD", PRIORITIZED, digits(priority_score(priority)), id)
  else
    call(first and "RPUSH" or "LPUSH", WAIT, id)
  end
  wake()
end
