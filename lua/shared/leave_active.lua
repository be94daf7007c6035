-- Removes `n` ids from `active`, each once, searching from the end, where the jobs are that started first. Returns
-- which of them were there. Jobs end mostly in the order in which they started, so the end of the list is read first.
-- Of those not found there, many are found in one pass over the list, and a few with a search for each.
local FEW = 20

local function leave_active(ids, n)
  local found, missing = {}, n
  if n > 2 then
    for i = 1, n do
      if found[ids[i]] == nil then
        found[ids[i]] = false
      else
        missing = missing - 1
      end
    end
    local tail = call("LRANGE", ACTIVE, digits(-n - 16), "-1")
    local first
    for i = #tail, 1, -1 do
      if found[tail[i]] == false then
        found[tail[i]], tail[i], first, missing = true, false, i, missing - 1
        if missing == 0 then break end
      end
    end
    if first then
      local others = {}
      for i = first, #tail do
        if tail[i] then others[#others + 1] = tail[i] end
      end
      call("LTRIM", ACTIVE, "0", digits(first - #tail - 2))
      if #others > 0 then call("RPUSH", ACTIVE, unpack(others)) end
    end
    if missing > FEW then
      -- No id is empty, so an empty element marks a place to remove.
      local all = call("LRANGE", ACTIVE, "0", "-1")
      for i = #all, 1, -1 do
        if found[all[i]] == false then
          found[all[i]] = true
          call("LSET", ACTIVE, digits(i - 1), "")
        end
      end
      if missing > 0 then call("LREM", ACTIVE, "0", "") end
      return found
    end
  end
  for i = 1, missing > 0 and n or 0 do
    if not found[ids[i]] then found[ids[i]] = call("LREM", ACTIVE, "-1", ids[i]) == 1 end
  end
  return found
end
