--[[ find_stopped_schedulers: find job schedulers whose run is past and gone, so that nobody makes the next one.

KEYS    1 base      "<prefix>:<queue>:"
ARGV    1 now       ms, the caller's clock
        2 interval  ms in which only one call looks
        3 random    a whole number from 0 on, which says where to begin if there are very many
RETURN  {id, slot, hash, id, slot, hash, ...}; a hash is an array of fields and values
EVENTS  none
USES    queue
COST    up to five commands for each of at most 1,000 schedulers, of which at most 100 are returned
]]
local MOST_SEEN, MOST_FOUND = 1000, 100
local zset, check, found = base .. "repeat", base .. "oxmq:schedulers-check", {}
if call("EXISTS", check) == 1 then return found end

-- A limit counts from the last upsert on, and the count of runs from the first: what lies between them is known from the
-- options of a run alone, so it is noted while the run is there. An upsert deletes the note.
local function note_limit(scheduler, id)
  local entry = base .. "repeat:" .. scheduler
  local held = redis.pcall("HMGET", entry, "limit", "ic", "limitFrom")
  if held.err or not held[1] or not tonumber(held[2] or "") then return end
  local opts = redis.pcall("HGET", base .. id, "opts")
  local is_read, run = pcall(cjson.decode, opts)
  local count = is_read and type(run) == "table" and type(run["repeat"]) == "table" and tonumber(run["repeat"].count)
  if not count then return end
  local from = digits(tonumber(held[2]) - count)
  if from ~= (held[3] or "0") then call("HSET", entry, "limitFrom", from) end
end

local past = call("ZCOUNT", zset, "-inf", ARGV[1])
local from = past > MOST_SEEN and tonumber(ARGV[3]) % past or 0
local seen = call("ZRANGEBYSCORE", zset, "-inf", ARGV[1], "WITHSCORES", "LIMIT", digits(from), digits(MOST_SEEN))
for i = 1, #seen, 2 do
  local scheduler, slot = seen[i], seen[i + 1]
  local id = "repeat:" .. scheduler .. ":" .. slot
  -- A run that has ended and is still the current one led to no other, or was the last: the hash tells.
  local is_over = call("EXISTS", base .. id) == 0 or call("ZSCORE", base .. "completed", id)
    or call("ZSCORE", base .. "failed", id)
  note_limit(scheduler, id)
  if is_over then
    local hash = redis.pcall("HGETALL", base .. "repeat:" .. scheduler)
    if not hash.err and #hash > 0 then
      found[#found + 1], found[#found + 2], found[#found + 3] = scheduler, slot, hash
    end
  end
  if #found >= 3 * MOST_FOUND then break end
end
local rest = MOST_SEEN - #seen / 2
if rest > 0 then
  local due = call("ZRANGEBYSCORE", zset, "(" .. ARGV[1], "+inf", "WITHSCORES", "LIMIT", "0", digits(rest))
  for i = 1, #due, 2 do
    note_limit(due[i], "repeat:" .. due[i] .. ":" .. due[i + 1])
  end
end
call("SET", check, "1", "PX", ARGV[2])
return found
