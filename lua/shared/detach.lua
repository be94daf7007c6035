-- Removes a child that is being deleted from its parent's pending children, and releases the parent after the last one.
-- The parent's queue is entered first, so that a key of a wrong type there fails before the first write.
local function drop_child(parent, id, child)
  if call("SREM", parent .. ":dependencies", child) == 0 then return end
  if id and call("SCARD", parent .. ":dependencies") == 0 then release_to_front(id) end
end

local function detach(child, parent)
  if not parent or parent == "" then return end
  local home, id = split_key(parent)
  within(home or base, drop_child, parent, id, child)
end
