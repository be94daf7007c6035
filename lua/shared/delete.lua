-- Deletes the hashes of jobs and the keys that belong to them. Locks, and the ids in lists and sets, are left to the
-- caller.
local JOB_PARTS = { "", ":logs", ":dependencies", ":processed", ":failed", ":unsuccessful" }
local function delete_jobs(jobs)
  local keys = {}
  for _, job in ipairs(jobs) do
    for _, part in ipairs(JOB_PARTS) do keys[#keys + 1] = job .. part end
    if #keys > 6000 then
      call("DEL", unpack(keys))
      keys = {}
    end
  end
  if #keys > 0 then call("DEL", unpack(keys)) end
end
