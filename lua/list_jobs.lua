--[[ list_jobs: read the ids, or the whole jobs, at given positions of lists and sorted sets.

KEYS    1 base      "<prefix>:<queue>:"
ARGV    1 what      "ids" or "jobs"
        2 order     "asc": next or lowest first; "desc": the other way round
        3 budget    how many positions to look at
        4…          four values for each list or set: the suffix of its key; the first and last position, counted from
                    the end if below 0; and how many jobs are wanted, or empty. With a number, positions past `last`
                    are read too, in place of jobs that are missing
RETURN  array, three values for each list or set: the first and last position to ask for next, or "done" and "" if that
        was all; and an array of the ids, or of id and hash in turn
EVENTS  none
USES    queue, states, legacy
COST    one HGETALL per position; stops early when the jobs are large
]]
local with_hash, ascending, budget = ARGV[1] == "jobs", ARGV[2] == "asc", tonumber(ARGV[3])
local bytes, ENOUGH = 0, 1024 * 1024

-- Reads ids. Position 0 is the job of a list that runs next, or the lowest score of a set.
local function read(name, from, to)
  local key = base .. name
  if not IS_LIST[name] then return call(ascending and "ZRANGE" or "ZREVRANGE", key, digits(from), digits(to)) end
  if not ascending then return call("LRANGE", key, digits(from), digits(to)) end
  local ids, turned = call("LRANGE", key, digits(-to - 1), digits(-from - 1)), {}
  for i = #ids, 1, -1 do turned[#turned + 1] = ids[i] end
  return turned
end

local function collect(id, items)
  if not with_hash then
    items[#items + 1] = id
    return true
  end
  local fields = redis.pcall("HGETALL", base .. id)
  if fields.err or #fields == 0 then return false end
  items[#items + 1] = id
  items[#items + 1] = fields
  for i = 2, #fields, 2 do bytes = bytes + #fields[i] end
  return true
end

local function page(name, first, last, want)
  local length, items = count_of(name), {}
  if first < 0 then first = math.max(0, length + first) end
  if last < 0 then last = length + last end
  last = math.min(last, 9007199254740991)
  local stop = want and length - 1 or math.min(last, length - 1)
  local missing = want or math.huge
  while first <= stop and missing > 0 do
    if budget <= 0 or bytes >= ENOUGH then return digits(first), digits(last), items end
    local to = math.min(stop, first + math.min(budget, missing, with_hash and 50 or 5000) - 1)
    for n, id in ipairs(read(name, first, to)) do
      if collect(id, items) then missing = missing - 1 end
      if bytes >= ENOUGH then
        to = first + n - 1
        break
      end
    end
    budget = budget - (to - first + 1)
    first = to + 1
  end
  return "done", "", items
end

local reply = {}
for i = 4, #ARGV, 4 do
  local first, last, items = page(ARGV[i], tonumber(ARGV[i + 1]), tonumber(ARGV[i + 2]), tonumber(ARGV[i + 3]))
  reply[#reply + 1] = first
  reply[#reply + 1] = last
  reply[#reply + 1] = items
end
return reply
