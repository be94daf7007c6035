-- An id that exists already is added with a parent: the job becomes that parent's child, if it is free to.
local function attach(id, job, parent, now, deferred)
  local held = call("HMGET", job, "parentKey", "returnvalue")
  local old = held[1]
  if old and old ~= "" and old ~= parent.key and call("EXISTS", old) == 1 then
    if deferred then call("HSET", parent.key, "flowAttachmentFailed", "1") end
    return PARENT_CANNOT_BE_REPLACED
  end
  if call("ZSCORE", base .. "completed", id) then
    call("HSET", parent.key .. ":processed", job, held[2] or "null")
    local home, parent_id = split_key(parent.key)
    if home and not deferred then within(home, release_if_free, parent_id, now) end
  else
    call("SADD", parent.key .. ":dependencies", job)
  end
  call("HSET", job, "parentKey", parent.key, "parent", parent.json)
  return OK
end
