--[[ adopt_jobs: find the jobs of a fetch whose reply was lost, by the token of that fetch.

KEYS    1 base      "<prefix>:<queue>:"
ARGV    1 token     the token of that fetch; no other fetch has it
        2 lock_ms   the new life of their locks
        3 most      how many jobs to return at most; 0 returns the ids of all of them instead
        4…          ids that the caller knows; not returned, but their locks are renewed too
RETURN  jobs in the layout of `settle`, or ids
EVENTS  none: they were announced when they were handed out
USES    codes, queue
COST    one pass over the active jobs
]]
local most, known, found = tonumber(ARGV[3]), {}, 0
for i = 4, #ARGV do known[ARGV[i]] = true end
local active, jobs = call("LRANGE", ACTIVE, "0", "-1"), {}
for from = 1, #active, 1000 do
  local keys = {}
  for i = from, math.min(from + 999, #active) do keys[#keys + 1] = base .. active[i] .. ":lock" end
  for n, held in ipairs(call("MGET", unpack(keys))) do
    local id = active[from + n - 1]
    if held == ARGV[1] then call("PEXPIRE", base .. id .. ":lock", ARGV[2]) end
    if held == ARGV[1] and not known[id] and most == 0 then
      if type(redis.pcall("HLEN", base .. id)) == "number" then jobs[#jobs + 1] = id end
    elseif held == ARGV[1] and not known[id] and found < most then
      local all = redis.pcall("HGETALL", base .. id)
      if not all.err then
        found = found + 1
        for i = 1, #all, 2 do
          -- As in the reply of the fetch: the job as it was before this start.
          if all[i] == "ats" then all[i + 1] = digits((tonumber(all[i + 1]) or 1) - 1) end
        end
        jobs[#jobs + 1], jobs[#jobs + 2] = id, all
      end
    end
  end
end
return jobs
