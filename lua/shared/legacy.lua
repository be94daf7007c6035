-- Returns the number of jobs in a list. Before version 5, BullMQ put markers ("0:…") among the ids of `wait` and
-- `paused`. One that would be fetched next is removed; one that is alone stays, and is not counted.
local function length_without_mark(list)
  local length = call("LLEN", list)
  if length == 0 or string.sub(call("LINDEX", list, "-1"), 1, 2) ~= "0:" then return length end
  if length > 1 then call("RPOP", list) end
  return length - 1
end

-- Returns the number of jobs in a list or sorted set, by its key's suffix.
local function count_of(name)
  if name == "wait" or name == "paused" then return length_without_mark(base .. name) end
  return call(IS_LIST[name] and "LLEN" or "ZCARD", base .. name)
end
