-- Deletes the hashes of jobs and the keys that belong to them. Locks, and the ids in lists and sets, are left to the
-- caller. With `have_no_children` the last two parts are left out: no job has a pending or failed child.
local JOB_PARTS = { "", ":logs", ":processed", ":failed", ":dependencies", ":unsuccessful" }
local function delete_jobs(jobs, have_no_children)
  local keys, n, parts = {}, 0, have_no_children and 4 or 6
  for i = 1, #jobs do
    for part = 1, parts do
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
