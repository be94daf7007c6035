-- Deletes finished jobs that a retention rule no longer keeps. `rule` is "count", or "count,age,limit" with the age in
-- milliseconds; a count of -1 keeps any number. For a count, a call deletes at most 300 jobs; with a new rule the rest
-- is deleted by later calls.
local MOST_BY_COUNT = 300
local rules = {}
local function retention(text)
  local rule = rules[text]
  if not rule then
    local count, age, limit = string.match(text, "^(-?%d*),?(%d*),?(%d*)$")
    rule = { count = tonumber(count) or -1, age = tonumber(age), limit = math.min(tonumber(limit) or 1000, MOST) }
    rules[text] = rule
  end
  return rule
end

local function drop(finished, ids)
  local jobs = {}
  for i, id in ipairs(ids) do
    jobs[i] = base .. id
    -- A job or a parent of a wrong type must not keep others from being deleted.
    local parent = redis.pcall("HGET", jobs[i], "parentKey")
    if type(parent) == "string" then pcall(detach, jobs[i], parent) end
  end
  delete_jobs(jobs)
  for i = 1, #ids, 5000 do
    call("ZREM", finished, unpack(ids, i, math.min(i + 4999, #ids)))
  end
end

local function retain(finished, rule, now)
  if rule.age then
    local oldest = digits(now - rule.age)
    drop(finished, call("ZREVRANGEBYSCORE", finished, oldest, "-inf", "LIMIT", "0", digits(rule.limit)))
  end
  if rule.count > 0 then
    local surplus = call("ZCARD", finished) - rule.count
    if surplus > 0 then
      drop(finished, call("ZREVRANGE", finished, digits(-math.min(surplus, MOST_BY_COUNT)), "-1"))
    end
  end
end
