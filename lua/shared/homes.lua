-- Switches all that follows to another queue: `enter(home)` points the queue's keys and settings at the queue whose
-- base key is `home`. Its settings are read at the first visit, which fails for a key of a wrong type.
local visited = { [base] = settings }
local function enter(home)
  if home == base then return end
  base = home
  WAIT, ACTIVE, PRIORITIZED, DELAYED = base .. "wait", base .. "active", base .. "prioritized", base .. "delayed"
  META, EVENTS, MARKER, PC = base .. "meta", base .. "events", base .. "marker", base .. "pc"
  settings = visited[home]
  if not settings then
    settings = read_settings()
    visited[home] = settings
  end
end

-- Calls `act` in another queue and switches back, after an error too.
local function within(home, act, ...)
  if home == base then return act(...) end
  local former = base
  local is_done, answer = pcall(enter, home)
  if is_done then is_done, answer = pcall(act, ...) end
  enter(former)
  if not is_done then error(answer, 0) end
  return answer
end
