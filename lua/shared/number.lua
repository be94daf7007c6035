-- Numbers that others have stored. What is none is 0; Lua also reads "nan", which no command of Redis takes.
local MOST = 9007199254740991
local function number_of(text)
  local n = tonumber(text or "")
  return n and n == n and n or 0
end
