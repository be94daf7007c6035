-- Counts `finished` more jobs into the per-minute figures that Node's getMetrics reads.
local function count_finished(kind, finished, points, now)
  local key = base .. "metrics:" .. kind
  local before = call("HINCRBY", key, "count", digits(finished)) - finished
  local held = call("HMGET", key, "prevTS", "prevCount")
  if not held[1] then
    call("HSET", key, "prevTS", digits(now), "prevCount", "0")
    return
  end
  local minutes = math.floor(now / 60000) - math.floor(tonumber(held[1]) / 60000)
  minutes = math.min(minutes, points)
  if minutes <= 0 then return end
  local data = key .. ":data"
  call("LPUSH", data, digits(before - (tonumber(held[2] or "") or 0)))
  local zeros = {}
  for i = 1, math.min(minutes - 1, 5000) do zeros[i] = "0" end
  local left = minutes - 1
  while left > 0 do
    local n = math.min(left, #zeros)
    call("LPUSH", data, unpack(zeros, 1, n))
    left = left - n
  end
  call("LTRIM", data, "0", digits(points - 1))
  call("HSET", key, "prevCount", digits(before), "prevTS", digits(now))
end
