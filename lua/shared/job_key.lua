-- Splits a job key into the base key of its queue and the id. An id may have colons, as that of a scheduler's run has,
-- and so may a prefix, but not the name of a queue: so a key with the present queue's prefix is split after the name.
-- It is split at its last colon if there is a queue of that name, whose prefix is a longer one, or if its prefix is
-- another one.
local function split_key(key)
  local home, id = string.match(key, "^(.*:)([^:]*)$")
  local prefix = string.match(base, "^(.*:)[^:]*:$")
  if home and prefix and string.sub(key, 1, #prefix) == prefix then
    local name, rest = string.match(key, "^([^:]*:)(.+)$", #prefix + 1)
    if name and rest ~= id and call("EXISTS", home .. "meta") == 0 then return prefix .. name, rest end
  end
  return home, id
end
