-- Deletes the hashes of jobs and the keys that belong to them. Locks, and the ids in lists and sets, are left to the
-- caller.
local JOB_PARTS = { "", ":logs", ":processed", ":failed", ":dependencies", ":unsuccessful" }
local function delete_jobs(jobs)
  local keys, n = {}, 0
  for i = 1, #jobs do
    for part = 1, 6 do
      n = n + 1
      keys[n] = jobs[i] .. JOB_PARTS[part]
    end
    if n > 6000 then
      call("DEL", unpack(keys, 1, n))
      n = 0
    end
  end
  if n > 0 then call("DEL", unpack(keys, 1, n)) end
end
