-- Returns how many elements a search of all lists looks at. To ask the sets is cheap, but each list is searched from
-- end to end.
local function elements_of_lists()
  local length = 0
  for _, list in ipairs(LISTS) do length = length + call("LLEN", base .. list) end
  return length
end

local function is_in_a_set(id)
  for _, zset in ipairs(ZSETS) do
    if call("ZSCORE", base .. zset, id) then return true end
  end
  return false
end

local function is_in_a_list(id)
  for _, list in ipairs(LISTS) do
    if call("LPOS", base .. list, id) then return true end
  end
  return false
end
