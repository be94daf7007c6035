--[[ remove_job: remove a job with or without its children, or only its pending children.

KEYS    1 base      "<prefix>:<queue>:"
ARGV    1 id        the job
        2 what      "alone"  the job; its children stay
                    "tree"   the job and all its descendants, finished or not
                    "unprocessed"  its pending descendants, except those that run or have failed; the job stays
        3 step      1 in the first call, then 2, 3 …
        4…          the base keys of the queues in which jobs may be removed; none for all
RETURN  1 done; 0 a worker runs the job or one of its pending children, so no more is removed; 2 call again;
        {base key} of a queue in which a job would be removed and may not be, so no more is removed; or BELONGS_TO_SCHEDULER
EVENTS  removed {jobId, prev} in the queue of each job; waiting {jobId, prev} in the queue of a parent that is released
USES    codes, queue, settings, wake, announce, number, prioritize, delay, ready, homes, states, check_queue, job_key,
        release, detach, delete, erase, cut
COST    about fifteen commands per job, at most 150 jobs per call, and a search of the lists: one for each job if
        they are few, else one for all. The first call also reads the locks of all pending children
]]
local LIMIT, FEW = 150, 4
local root = { id = ARGV[1], home = base, key = base .. ARGV[1] }
local what, first_step = ARGV[2], ARGV[3] == "1"
local permitted = #ARGV > 3 and {}
for i = 4, #ARGV do permitted[ARGV[i]] = true end

-- Returns how many keys exist among these, each with each of the suffixes.
local function count_existing(keys, suffixes)
  local asked, found = {}, 0
  for i, key in ipairs(keys) do
    for _, suffix in ipairs(suffixes) do asked[#asked + 1] = key .. suffix end
    if #asked >= 1000 or i == #keys then
      found = found + call("EXISTS", unpack(asked))
      asked = {}
    end
  end
  return found
end

-- Returns whether a worker holds one of these jobs, or one of their pending descendants.
local tested = {}
local function is_any_held(keys)
  local fresh = {}
  for _, key in ipairs(keys) do
    if not tested[key] then fresh[#fresh + 1] = key end
    tested[key] = true
  end
  if #fresh == 0 then return false end
  if count_existing(fresh, { ":lock" }) > 0 then return true end
  if what == "alone" or count_existing(fresh, { ":dependencies" }) == 0 then return false end
  for _, key in ipairs(fresh) do
    if is_any_held(call("SMEMBERS", key .. ":dependencies")) then return true end
  end
  return false
end

local FAMILY = { ":processed", ":failed", ":unsuccessful", ":dependencies" }
local function size_of_family(key)
  return call("HLEN", key .. ":processed") + call("HLEN", key .. ":failed") + call("ZCARD", key .. ":unsuccessful")
    + call("SCARD", key .. ":dependencies")
end

-- Returns the keys of the children to remove too, finished ones first; of a large family only some, if `some` is set.
local function children_of(key, some)
  local found = {}
  local function collect(keys, step)
    for i = 1, #keys, step do found[#found + 1] = keys[i] end
  end
  if what == "tree" then
    for _, record in ipairs({ ":processed", ":failed" }) do
      if some then
        -- HSCAN would answer nothing for thousands of steps, once a hash has been emptied from its front.
        collect(call("HRANDFIELD", key .. record, digits(LIMIT)), 1)
      else
        collect(call("HKEYS", key .. record), 1)
      end
    end
    collect(call("ZRANGE", key .. ":unsuccessful", "0", some and digits(LIMIT - 1) or "-1"), 1)
    if some then
      collect(call("SRANDMEMBER", key .. ":dependencies", digits(LIMIT)), 1)
      return found
    end
  end
  collect(call("SMEMBERS", key .. ":dependencies"), 1)
  return found
end

-- Plans the removal, in order; everything is read before the first write. A family that fits into one call is removed
-- in Node's order: a job is separated from its parent before its own children are removed. In a larger one children are
-- removed first, over many calls, so that no child left to remove is lost sight of.
local steps, planned, size, held_later, more, forbidden
local function plan(node, whole, childless)
  if planned[node.key] then return end
  planned[node.key] = true
  local keep = what == "unprocessed" and node == root
  if what == "unprocessed" and not keep
    and (call("EXISTS", node.key .. ":lock") == 1 or call("ZSCORE", node.home .. "failed", node.id)) then
    return
  end
  if permitted and not permitted[node.home] then
    forbidden = node.home
    return
  end
  check_queue(node.home)
  local fields = call("HMGET", node.key, "parentKey", "deid")
  within(node.home, check_owner, fields[2])
  node.deid = fields[2]
  if node == root then
    node.parent = fields[1]
    check_parent(node.parent)
  end
  if whole and not keep then steps[#steps + 1] = { "detach", node } end
  if what ~= "alone" and not childless then
    if whole and size_of_family(node.key) >= LIMIT then
      more = true
      return
    end
    local children = children_of(node.key, not whole)
    local all_childless = count_existing(children, FAMILY) == 0
    for _, key in ipairs(children) do
      local home, id = split_key(key)
      if home then plan({ key = key, home = home, id = id, parent = node.key }, whole, all_childless) end
      if size >= LIMIT then
        more = true
        return
      end
    end
  end
  if keep then return end
  if not first_step and what ~= "unprocessed" and call("EXISTS", node.key .. ":lock") == 1 then held_later = true end
  if not whole then steps[#steps + 1] = { "detach", node } end
  steps[#steps + 1] = { "remove", node }
  size = size + 1
end

local function start_plan(whole)
  steps, planned, size, held_later, more = {}, {}, 0, false, false
  plan(root, whole)
end

local function is_in_a_set(node)
  local held = check_queue(node.home)
  for _, zset in ipairs(ZSETS) do
    if held[zset] > 0 and call("ZSCORE", node.home .. zset, node.id) then return true end
  end
  return false
end

-- Removes all these jobs of one queue from one of its lists. `nodes.left` counts those not found in any list so far.
local function take_from_list(nodes, name)
  local key, at = nodes.home .. name, {}
  local length = call("LLEN", key)
  local function look(from, to)
    for n, id in ipairs(call("LRANGE", key, digits(from), digits(to))) do
      local node = nodes.by_id[id]
      if node and not node.prev then
        node.prev, at[#at + 1] = name, from + n - 1
        nodes.left = nodes.left - 1
      end
    end
  end
  -- Children that were added together are together in the list, mostly near one of its ends.
  local tries = 0
  for _, node in ipairs(nodes) do
    if tries == FEW or nodes.left < FEW then break end
    if not node.prev then
      tries = tries + 1
      local place = call("LPOS", key, node.id, "MAXLEN", "5000") or call("LPOS", key, node.id, "RANK", "-1")
      if place then look(math.max(0, place - 1000), place + 1000) end
    end
  end
  for from = 0, length - 1, 5000 do
    if nodes.left < FEW then break end
    look(from, from + 4999)
  end
  local left, right, depth, height = {}, {}, 0, 0
  for _, place in ipairs(at) do
    if place < length / 2 then
      left[#left + 1], depth = place, math.max(depth, place + 1)
    else
      right[#right + 1], height = place - length, math.max(height, length - place)
    end
  end
  cut(key, true, height, right)
  cut(key, false, depth, left)
end

-- Searching a long list for each of many jobs would take long, so all are removed from the lists together first.
local function take_from_lists()
  local queues = {}
  for _, step in ipairs(steps) do
    local node = step[2]
    if step[1] == "remove" then
      node.in_a_set = is_in_a_set(node)
      if not node.in_a_set then
        local nodes = queues[node.home] or { home = node.home, by_id = {}, left = 0 }
        queues[node.home] = nodes
        nodes[#nodes + 1], nodes.by_id[node.id], nodes.left = node, node, nodes.left + 1
      end
    end
  end
  for _, nodes in pairs(queues) do
    for _, name in ipairs(LISTS) do
      if nodes.left >= FEW then take_from_list(nodes, name) end
    end
  end
end

local function take_from_state(node)
  if node.prev then return node.prev end
  local held = check_queue(node.home)
  for _, zset in ipairs(ZSETS) do
    -- A set that was empty at the start still is: a release only adds to `wait`.
    if held[zset] > 0 and call("ZREM", node.home .. zset, node.id) == 1 then return zset end
  end
  for _, list in ipairs(LISTS) do
    -- A parent that was released in this call is at the end.
    if call("LREM", node.home .. list, node.in_a_set and "-1" or "1", node.id) == 1 then return list end
  end
  return "unknown"
end

local vacated = {}
local function remove_node(node, whole)
  local prev = take_from_state(node)
  if prev == "active" then vacated[node.home] = true end
  free_deduplication(node.id, node.deid)
  local keys = {}
  for i, part in ipairs(JOB_PARTS) do keys[i] = node.key .. part end
  if call("DEL", unpack(keys)) > 0 then announce("removed", node.id, "prev", prev) end
  if not whole and node.parent and node ~= root then
    call("HDEL", node.parent .. ":processed", node.key)
    call("HDEL", node.parent .. ":failed", node.key)
    call("ZREM", node.parent .. ":unsuccessful", node.key)
  end
end

if what ~= "unprocessed" and first_step then
  local scheduler = call("HGET", root.key, "rjk")
  if scheduler and scheduler ~= "" and is_pending_run(root.id) then return BELONGS_TO_SCHEDULER end
  if is_any_held({ root.key }) then return 0 end
end
local whole = first_step
start_plan(whole)
if whole and more then
  whole = false
  start_plan(whole)
end
if forbidden then return { forbidden } end
if held_later then return 0 end
if #steps >= FEW then take_from_lists() end
for _, step in ipairs(steps) do
  if step[1] == "detach" then
    detach(step[2].key, step[2].parent)
  else
    within(step[2].home, remove_node, step[2], whole)
  end
end
for home in pairs(vacated) do within(home, wake_for_place) end
return more and 2 or 1
