-- Removes ids from `active` wherever they stand. Both lists keep those that were there; returns their number.
local function leave_in_any_order(alike, ids, n)
  local was_active, left = leave_active(ids, n), 0
  for k = 1, n do
    local id = ids[k]
    if was_active[id] then
      -- An id that is named twice is finished once.
      was_active[id] = nil
      left = left + 1
      alike[left], ids[left] = alike[k], id
    end
  end
  return left
end
