-- Returns the id `id`, a number of the present queue, and its job key; or the next number that no job has. Where the
-- counter lags behind the jobs, as after a restore, it is raised in steps that double: a few dozen tries pass any
-- number of jobs, and the numbers skipped stay unused.
local function past_taken(id)
  local key, step = base .. id, 1
  while call("EXISTS", key) == 1 do
    id = digits(call("INCRBY", base .. "id", digits(step)))
    key, step = base .. id, 2 * step
  end
  return id, key
end
