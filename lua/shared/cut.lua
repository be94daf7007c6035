-- Removes elements near one end of a list. `depth` is how many elements from that end have been looked at, by this call
-- or earlier ones. `gone` lists the positions to remove: 0, 1, 2 … from the left, or -1, -2, -3 … from the right. The
-- placeholder begins with "0:" like the markers of old versions, so that no reader takes it for an id.
local CUT, SHALLOW = "0:cut", 2000
local function cut(list, from_right, depth, gone)
  if #gone == 0 then return end
  if depth > SHALLOW then
    for _, position in ipairs(gone) do call("LSET", list, digits(position), CUT) end
    call("LREM", list, digits(from_right and -#gone or #gone), CUT)
    return
  end
  -- Near the end it is faster to remove everything and to put back what stays.
  local is_gone, stays = {}, {}
  for _, position in ipairs(gone) do is_gone[position] = true end
  local ids
  if from_right then
    ids = call("LRANGE", list, digits(-depth), "-1")
    for i, id in ipairs(ids) do
      if not is_gone[i - #ids - 1] then stays[#stays + 1] = id end
    end
    call("LTRIM", list, "0", digits(-#ids - 1))
  else
    ids = call("LRANGE", list, "0", digits(depth - 1))
    for i = #ids, 1, -1 do
      if not is_gone[i - 1] then stays[#stays + 1] = ids[i] end
    end
    call("LTRIM", list, digits(#ids), "-1")
  end
  if #stays > 0 then call(from_right and "RPUSH" or "LPUSH", list, unpack(stays)) end
end
