-- Reads the per-minute counters that Node's getMetrics reads. A counter that cannot be read starts again at 0, so that
-- it holds no job up.
local figures = {}
local function read_metrics()
  for _, kind in ipairs({ "completed", "failed" }) do
    local key = base .. "metrics:" .. kind
    local held, is_readable = call("HMGET", key, "count", "prevTS", "prevCount"), true
    for i = 1, 3 do
      is_readable = is_readable and (not held[i] or #held[i] < 16 and string.find(held[i], "^%-?%d+$"))
    end
    call("LLEN", key .. ":data")
    figures[kind] = { prev_ts = held[2], count = held[3], is_readable = is_readable }
  end
end

-- Counts `finished` more jobs, and closes the minutes that have passed since the last count.
local function count_finished(kind, finished, points, now)
  local key, held = base .. "metrics:" .. kind, figures[kind]
  if not held.is_readable then
    call("HDEL", key, "count", "prevTS", "prevCount")
    held.prev_ts = false
  end
  local before = call("HINCRBY", key, "count", digits(finished)) - finished
  if not held.prev_ts then
    call("HSET", key, "prevTS", digits(now), "prevCount", "0")
    return
  end
  local minutes = math.floor(now / 60000) - math.floor(tonumber(held.prev_ts) / 60000)
  minutes = math.min(minutes, points, 100000)
  if minutes <= 0 then return end
  local data = key .. ":data"
  call("LPUSH", data, digits(before - (tonumber(held.count or "") or 0)))
  local zeros = {}
  for i = 1, math.min(minutes - 1, 5000) do zeros[i] = "0" end
  local left = minutes - 1
  while left > 0 do
    local n = math.min(left, #zeros)
    call("LPUSH", data, unpack(zeros, 1, n))
    left = left - n
  end
  call("LTRIM", data, "0", digits(math.min(points, MOST) - 1))
  call("HSET", key, "prevCount", digits(before), "prevTS", digits(now))
end

local function count_ends(completed, failed, points, now)
  if completed > 0 then count_finished("completed", completed, points, now) end
  if failed > 0 then count_finished("failed", failed, points, now) end
end
