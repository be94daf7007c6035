--[[ waits_for: tell why a parent waits, or cannot finish: the outcomes and states of its children.

KEYS    1 base      "<prefix>:<queue>:", which every key of the queue begins with
ARGV    1 id        the parent
        2 most      how many children of each kind to look up
        3 depth     how many ids of a list of waiting jobs to search for one of them
RETURN  {state, defa, pending, processed, ignored, failed, children}, or nothing if there is no such job. Of each
        child that was looked up, `children` has five values: "pending" or "failed", its job key, its state or
        "missing", the reason of its failure, and its field `parent`; a value that does not exist is empty
EVENTS  none
USES    queue, states
COST    ten commands, and up to ten for each child that is looked up
]]
local id, most, depth = ARGV[1], tonumber(ARGV[2]), ARGV[3]

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
local children, n = {}, 0
local function look_up(kind, key)
  local home, child_id = string.match(key, "^(.*:)([^:]*)$")
  local held = redis.pcall("HMGET", key, "failedReason", "parent", "name")
  local state = "missing"
  if held.err then
    state, held = "unknown", {}
  elseif home and call("EXISTS", key) == 1 then
    state = state_of(home, child_id)
  end
  children[n + 1], children[n + 2], children[n + 3] = kind, key, state
  children[n + 4], children[n + 5] = held[1] or "", held[2] or ""
  n = n + 5
end
if most > 0 then
  -- Of a set that is too large, random members are looked up.
  local keys = call("SCARD", pending) > most and call("SRANDMEMBER", pending, ARGV[2]) or call("SMEMBERS", pending)
  for _, key in ipairs(keys) do look_up("pending", key) end
  for _, key in ipairs(call("ZRANGE", failed, "0", digits(most - 1))) do look_up("failed", key) end
end
return {
  state_of(base, id), call("HGET", parent, "defa") or "", call("SCARD", pending), call("HLEN", parent .. ":processed"),
  call("HLEN", parent .. ":failed"), call("ZCARD", failed), children,
}
