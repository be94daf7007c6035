-- Reads a number that others have stored; 0 for anything that is no number. Lua's tonumber accepts "nan", which no
-- Redis command takes.
local MOST = 9007199254740991
local function number_of(text)
  local n = tonumber(text or "")
  return n and n == n and n or 0
end
