--[[ summarize_queue: read what an overview shows of a queue.

KEYS    1 base      "<prefix>:<queue>:"
ARGV    1 minutes   for how many minutes to return the numbers of finished jobs
        2 recent    how many of the last finished jobs to look at, for the times that they took
        3 now       ms, the caller's clock
RETURN  {counts, meta, oldest, due, completed, failed, recent, ended, schedulers}: the numbers of jobs in the order of
        `JobState::ALL`; paused, version and concurrency; id and timestamp of the oldest among
        the next jobs of `wait`, `paused` and `prioritized`; the score of the delayed job that is due first; count, prevTS,
        prevCount and minutes of completed and failed jobs; timestamp, delay, processedOn and finishedOn of each recent
        job; how many completed and failed in the last minute, in the last hour, and when the last one did; and the number
        of job schedulers
EVENTS  none
USES    queue
COST    some thirty commands, and one for each recent job
]]
local function lone(list) return call("LINDEX", base .. list, "-1") end
local function text(value) return value or "" end

local counts = {}
for i, zset in ipairs({ "completed", "failed", "delayed", "prioritized" }) do counts[i] = call("ZCARD", base .. zset) end
for i, list in ipairs({ "active", "wait", "paused" }) do counts[i + 4] = call("LLEN", base .. list) end
counts[8] = call("ZCARD", base .. "waiting-children")

local meta = call("HMGET", META, "paused", "version", "concurrency")
for i = 1, 3 do meta[i] = text(meta[i]) end

local oldest, since = { "", "" }, math.huge
for _, id in ipairs({ text(lone("wait")), text(lone("paused")), text(call("ZRANGE", PRIORITIZED, "0", "0")[1]) }) do
  if id ~= "" and string.sub(id, 1, 2) ~= "0:" then
    local timestamp = redis.pcall("HGET", base .. id, "timestamp")
    local moment = type(timestamp) == "string" and tonumber(timestamp)
    if moment and moment < since then oldest, since = { id, timestamp }, moment end
  end
end

local function metrics(kind)
  local held = call("HMGET", base .. "metrics:" .. kind, "count", "prevTS", "prevCount")
  local minutes = {}
  if tonumber(ARGV[1]) > 0 then
    minutes = call("LRANGE", base .. "metrics:" .. kind .. ":data", "0", digits(ARGV[1] - 1))
  end
  return { held[1] or "0", held[2] or "0", held[3] or "0", minutes }
end

local recent = {}
if tonumber(ARGV[2]) > 0 then
  for _, zset in ipairs({ "completed", "failed" }) do
    for _, id in ipairs(call("ZREVRANGE", base .. zset, "0", digits(ARGV[2] - 1))) do
      local held = redis.pcall("HMGET", base .. id, "timestamp", "delay", "processedOn", "finishedOn")
      if not held.err then
        for field = 1, 4 do recent[#recent + 1] = text(held[field]) end
      end
    end
  end
end

-- How many jobs finished in the last minute, in the last hour, and when the last one did.
local ended = {}
for i, zset in ipairs({ "completed", "failed" }) do
  local key, last = base .. zset, call("ZRANGE", base .. zset, "-1", "-1", "WITHSCORES")
  ended[i] = call("ZCOUNT", key, digits(ARGV[3] - 60000), "+inf")
  ended[i + 2] = call("ZCOUNT", key, digits(ARGV[3] - 3600000), "+inf")
  ended[i + 4] = text(last[2])
end

local due = text(call("ZRANGE", DELAYED, "0", "0", "WITHSCORES")[2])
return {
  counts, meta, oldest, due, metrics("completed"), metrics("failed"), recent, ended, call("ZCARD", base .. "repeat"),
}
