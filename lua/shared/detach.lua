-- Takes a child that goes away for good out of its parent's pending children. The parent's queue is entered first, so that
-- a key of a wrong type there is met before anything is written.
local function drop_child(parent, id, child)
  if call("SREM", parent .. ":dependencies", child) == 0 then return end
  if id and call("SCARD", parent .. ":dependencies") == 0 then let_go(id) end
end

local function detach(child, parent)
  if not parent or parent == "" then return end
  local home, id = split_key(parent)
  within(home or base, drop_child, parent, id, child)
end
