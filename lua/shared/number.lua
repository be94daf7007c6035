-- Numbers that others have stored. What is none is 0; Lua also reads "nan", which no command of Redis takes.
local MOST = 9007199254740991
local function number_of(text)
  local n = tonumber(text or "")
  return n and n == n and n or 0
end

-- The next place among jobs of one priority. It only orders them: a counter that cannot be read, or is at its end, begins
-- anew. Whoever asks has seen that the key holds text.
local function next_turn(key)
  local turn = redis.pcall("INCR", key)
  if type(turn) == "number" then return turn % 4294967296 end
  call("SET", key, "1")
  return 1
end
