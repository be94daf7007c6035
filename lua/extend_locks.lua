--[[ extend_locks: renew the locks of running jobs.

KEYS    1 base      "<prefix>:<queue>:"
ARGV    1 lock_ms   the new life of the locks
        2…          id and token of each job, one after the other
RETURN  the ids whose lock is gone or has another token; these are not changed
EVENTS  none
USES    codes, queue
COST    one MGET, and per job a PEXPIRE and its share of one SREM; at most 1,000 jobs
]]
local keys, lost, kept = {}, {}, {}
call("SCARD", base .. "stalled")
for i = 2, #ARGV, 2 do keys[#keys + 1] = base .. ARGV[i] .. ":lock" end
if #keys == 0 then return {} end
local held = call("MGET", unpack(keys))
for n, key in ipairs(keys) do
  local id, token = ARGV[2 * n], ARGV[2 * n + 1]
  if held[n] == token then
    -- SET takes memory, which a full server before version 7 refuses to a script that has not written yet.
    call("PEXPIRE", key, ARGV[1])
    kept[#kept + 1] = id
  else
    lost[#lost + 1] = id
  end
end
if #kept > 0 then call("SREM", base .. "stalled", unpack(kept)) end
return lost
