-- Removes ids from `active` if exactly these are its end, which is so when jobs end in the order in which they started.
-- Returns false, with nothing changed, if not.
local function leave_in_order(ids, n)
  local tail = call("LRANGE", ACTIVE, digits(-n), "-1")
  if #tail < n then return false end
  for k = 1, n do
    if tail[n + 1 - k] ~= ids[k] then return false end
  end
  call("LTRIM", ACTIVE, "0", digits(-n - 1))
  return true
end
