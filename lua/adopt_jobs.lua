--[[ adopt_jobs: find the jobs that were handed out under a token when the reply was lost.

KEYS    1 base      "<prefix>:<queue>:"
ARGV    1 token     the token of that fetch; no other fetch has it
        2 lock_ms   how long their locks live from now on
        3…          ids that the caller runs already
RETURN  jobs, as `settle` hands them out
EVENTS  none: they were announced when they were handed out
USES    codes, queue
COST    one pass over the active jobs
]]
local known = {}
for i = 3, #ARGV do known[ARGV[i]] = true end
local active, jobs = call("LRANGE", ACTIVE, "0", "-1"), {}
for from = 1, #active, 1000 do
  local keys = {}
  for i = from, math.min(from + 999, #active) do keys[#keys + 1] = base .. active[i] .. ":lock" end
  for n, held in ipairs(call("MGET", unpack(keys))) do
    local id = active[from + n - 1]
    if held == ARGV[1] and not known[id] then
      local all = redis.pcall("HGETALL", base .. id)
      if not all.err then
        for i = 1, #all, 2 do
          -- As the fetch replies: the job as it was before this start.
          if all[i] == "ats" then all[i + 1] = digits((tonumber(all[i + 1]) or 1) - 1) end
        end
        call("PEXPIRE", base .. id .. ":lock", ARGV[2])
        for _, value in ipairs({ id, "", "", "", "", all }) do jobs[#jobs + 1] = value end
      end
    end
  end
end
return jobs
