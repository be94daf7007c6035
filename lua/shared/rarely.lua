-- The pieces after this one are for what few calls need: their functions are made at the first need only, since
-- making a function costs as much as half a read. The script closes this function and says what it gives.
local rare
local function rarely()
  if rare then return rare end
