-- Before version 5, wake-up marks stood among the ids of `wait` and `paused`. One that would be next gives way; alone
-- it stays, and counts as nothing.
local function length_without_mark(list)
  local length = call("LLEN", list)
  if length == 0 or string.sub(call("LINDEX", list, "-1"), 1, 2) ~= "0:" then return length end
  if length > 1 then call("RPOP", list) end
  return length - 1
end

-- How many jobs there are under this name.
local function count_of(name)
  if name == "wait" or name == "paused" then return length_without_mark(base .. name) end
  return call(IS_LIST[name] and "LLEN" or "ZCARD", base .. name)
end
