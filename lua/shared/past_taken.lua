-- The number `id` of the present queue, or where a job has it, the next one that is free. A counter that lags behind the
-- jobs, as after a restore, is moved by ever larger steps: a few dozen tries do for any number of jobs, and the numbers in
-- between stay unused.
local function past_taken(id)
  local key, step = base .. id, 1
  while call("EXISTS", key) == 1 do
    id = digits(call("INCRBY", base .. "id", digits(step)))
    key, step = base .. id, 2 * step
  end
  return id, key
end
