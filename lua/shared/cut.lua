-- Takes the elements at some positions out of a list; all positions count from the same end: 0, 1, 2 … from the left,
-- -1, -2, -3 … from the right. The place holder looks like a wake-up mark of old versions, which no reader takes for
-- an id.
local CUT = "0:cut"
local function cut(list, positions)
  if #positions == 0 then return end
  for _, position in ipairs(positions) do call("LSET", list, digits(position), CUT) end
  call("LREM", list, digits(positions[1] < 0 and -#positions or #positions), CUT)
end
