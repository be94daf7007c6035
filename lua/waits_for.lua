--[[ waits_for: tell why a parent waits, or cannot finish: the outcomes and states of its children.

KEYS    1 base      "<prefix>:<queue>:", which every key of the queue begins with
ARGV    1 id        the parent
        2 most      how many children of each kind to look up, and how many jobs below them
        3 depth     how many ids of a list of waiting jobs to search for one of them
        4 cursor    empty: the children are a random part if there are too many; else where SSCAN of the pending ones goes
                    on, and those that failed are not looked up
RETURN  {state, defa, pending, processed, ignored, failed, children, cursor}, or nothing if there is no such job. `cursor`
        is where to go on, "0" if all are looked up. Of each child that was looked up, `children` has eight values:
        "pending" or "failed", the base key of its queue, its id, its state or "missing", the reason of its failure, its
        field `parent`, how many children it waits for itself, and the number in `children` of the job that waits for
        it, 0 for the parent. A text that does not exist is empty
EVENTS  none
USES    queue, states, job_key
COST    ten commands, and up to a dozen for each job that is looked up
]]
local id, most, depth, cursor = ARGV[1], tonumber(ARGV[2]), ARGV[3], ARGV[4]

-- Calls a command; a key of a wrong type answers nil.
local function ask(...)
  local found = redis.pcall(...)
  return type(found) ~= "table" and found or nil
end

local function state_of(home, job_id)
  for _, zset in ipairs(ZSETS) do
    if ask("ZSCORE", home .. zset, job_id) then return zset end
  end
  if ask("LPOS", home .. "active", job_id) then return "active" end
  for _, list in ipairs({ "wait", "paused" }) do
    -- The next to run are at the end; a long list is not searched to its beginning.
    if ask("LPOS", home .. list, job_id, "RANK", "-1", "MAXLEN", depth) then return "waiting" end
    if (tonumber(ask("LLEN", home .. list) or 0) or 0) > tonumber(depth) then return "waiting" end
  end
  return "unknown"
end

local parent = base .. id
if call("EXISTS", parent) == 0 then return {} end
local pending, failed = parent .. ":dependencies", parent .. ":unsuccessful"
local children, n, looked_up = {}, 0, 0
-- The jobs that wait for children themselves, each with its number in `children`.
local waiting, is_known = {}, { [parent] = true }
local function look_up(kind, key, above)
  local home, child_id = split_key(key)
  local held = redis.pcall("HMGET", key, "failedReason", "parent", "name")
  local state = "missing"
  if held.err then
    state, held = "unknown", {}
  elseif home and call("EXISTS", key) == 1 then
    state = state_of(home, child_id)
  end
  children[n + 1], children[n + 2], children[n + 3] = kind, home or "", child_id or key
  children[n + 4], children[n + 5], children[n + 6] = state, held[1] or "", held[2] or ""
  children[n + 7], children[n + 8] = 0, above
  n, looked_up = n + 8, looked_up + 1
  if state == "waiting-children" and kind == "pending" then
    children[n - 1] = ask("SCARD", key .. ":dependencies") or 0
    if not is_known[key] then waiting[#waiting + 1] = { key = key, number = looked_up } end
    is_known[key] = true
  end
end

-- Returns at most that many members; random ones of a set that is too large.
local function members(set, at_most)
  if (ask("SCARD", set) or 0) > at_most then return call("SRANDMEMBER", set, digits(at_most)) end
  local found = redis.pcall("SMEMBERS", set)
  return found.err and {} or found
end
local next_cursor = "0"
if most > 0 then
  local keys
  if cursor == "" then
    keys = members(pending, most)
    for _, key in ipairs(call("ZRANGE", failed, "0", digits(most - 1))) do look_up("failed", key, 0) end
  else
    local page = call("SSCAN", pending, cursor, "COUNT", digits(most))
    next_cursor, keys = page[1], page[2]
  end
  for _, key in ipairs(keys) do look_up("pending", key, 0) end
  -- Level by level, as far as it goes.
  local left, at = most, 1
  while waiting[at] and left > 0 do
    local below = members(waiting[at].key .. ":dependencies", left)
    for _, key in ipairs(below) do look_up("pending", key, waiting[at].number) end
    left, at = left - #below, at + 1
  end
end
return {
  state_of(base, id), call("HGET", parent, "defa") or "", call("SCARD", pending), call("HLEN", parent .. ":processed"),
  call("HLEN", parent .. ":failed"), call("ZCARD", failed), children, next_cursor,
}
