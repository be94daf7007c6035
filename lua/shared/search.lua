-- Searches the jobs of one state for those that match a filter. The request, in order:
--   1 state     suffix of the key
--   2 order     "asc": what comes next, is due first or has finished first; "desc": the other way round
--   3 after     where the previous call stopped, as it answered; empty at the beginning
--   4 after_id  the id that it looked at last
--   5 budget    how many places to look at
--   6 wanted    how many jobs to find at most
--   7 last      a score: in ascending order jobs beyond it are not looked at; empty for none
--   8 since     ms: jobs from this moment on; empty for none
--   9 until     ms: jobs up to this moment; empty for none
--   10 name, 11 id   patterns in which `*` stands for any text; empty for none
--   12 data, 13 reason   texts that the job's data and its failure's reason contain; empty for none
local SEARCH_FIELDS, ENOUGH = 13, 1024 * 1024

local function pieces_of(pattern)
  if pattern == "" then return nil end
  local pieces = {}
  for piece in string.gmatch(pattern .. "*", "(.-)%*") do pieces[#pieces + 1] = piece end
  return pieces
end

-- Returns whether a text matches. Each piece is matched at its first position: a later one would leave less room for
-- the rest.
local function fits(text, pieces)
  if #pieces == 1 then return text == pieces[1] end
  if string.sub(text, 1, #pieces[1]) ~= pieces[1] then return false end
  local at = #pieces[1] + 1
  for i = 2, #pieces - 1 do
    local _, to = string.find(text, pieces[i], at, true)
    if not to then return false end
    at = to + 1
  end
  local tail = pieces[#pieces]
  return tail == "" or (#text - #tail + 1 >= at and string.sub(text, -#tail) == tail)
end

-- Compares ids byte by byte, as Redis does; Lua's `<` follows the locale.
local function comes_before(a, b)
  for i = 1, math.min(#a, #b) do
    local x, y = string.byte(a, i), string.byte(b, i)
    if x ~= y then return x < y end
  end
  return #a < #b
end

-- Returns how many members of a sorted set come before this score and id, or with `included` up to it. So the place is
-- found again even if its member is gone and others before it were added or removed.
local function rank_of(key, score, id, included)
  local low = call("ZCOUNT", key, "-inf", "(" .. score)
  local high = call("ZCOUNT", key, "-inf", score)
  while low < high do
    local middle = math.floor((low + high) / 2)
    local found = call("ZRANGE", key, digits(middle), digits(middle))[1]
    if comes_before(found, id) or (included and found == id) then low = middle + 1 else high = middle end
  end
  return low
end

-- Returns the next ids of a sorted set, their scores, and whether the end was reached.
local function next_of_zset(key, asked, finished, length)
  local after, budget, since, till = asked[3], tonumber(asked[5]), asked[8], asked[9]
  local ascending, from = asked[2] == "asc", 0
  if ascending and after ~= "" then
    from = rank_of(key, after, asked[4], true)
  elseif ascending and finished and since ~= "" then
    from = call("ZCOUNT", key, "-inf", "(" .. since)
  elseif not ascending and after ~= "" then
    from = length - rank_of(key, after, asked[4], false)
  elseif not ascending and finished and till ~= "" then
    from = length - call("ZCOUNT", key, "-inf", till)
  end
  local found = call(ascending and "ZRANGE" or "ZREVRANGE", key, digits(from), digits(from + budget - 1), "WITHSCORES")
  local ids, places = {}, {}
  for i = 1, #found, 2 do ids[#ids + 1], places[#places + 1] = found[i], found[i + 1] end
  return ids, places, from + #ids >= length
end

-- Returns the next ids of a list, their positions, and whether the end was reached. Position 1 is the job that runs next:
-- workers take from that end, and new jobs are added at the other. In descending order `after` is how many are still to be
-- looked at, counted from the end that runs next, so new jobs do not shift it. Jobs that are taken from that end, or put
-- back there, shift the positions by a few; so AGAIN jobs are looked at once more.
local AGAIN = 16
local function next_of_list(key, asked, length)
  local ascending, budget, after = asked[2] == "asc", tonumber(asked[5]), tonumber(asked[3])
  local first, last
  if ascending then
    first = math.max(1, (after or 0) + 1 - (after and AGAIN or 0))
    last = math.min(length, (after or 0) + budget)
  else
    local left = math.min(after or length, length)
    first, last = math.min(length, left + (after and AGAIN or 0)), math.max(1, left - budget + 1)
  end
  local ids, places, skipped = {}, {}, 0
  if length == 0 then return ids, places, true end
  if ascending then
    local turned = call("LRANGE", key, digits(-last), digits(-first))
    for i = #turned, 1, -1 do ids[#ids + 1] = turned[i] end
  else
    ids = call("LRANGE", key, digits(-first), digits(-last))
  end
  for i = 1, #ids do
    places[i] = ascending and first + i - 1 or first - i + 1
    if after and i <= 2 * AGAIN and ids[i] == asked[4] then skipped = i end
  end
  local fresh, theirs = {}, {}
  for i = skipped + 1, #ids do fresh[#fresh + 1], theirs[#theirs + 1] = ids[i], places[i] end
  return fresh, theirs, ascending and last >= length or last <= 1
end

-- Looks up a single id, without a search.
local function only(key, is_list, id)
  if is_list then
    local place = call("LPOS", key, id)
    return place and { id } or {}, place and { call("LLEN", key) - place } or {}, true
  end
  local score = call("ZSCORE", key, id)
  return score and { id } or {}, { score }, true
end

-- Calls `meet(id, place)` for each job found; `place` is its score, or its position in a list. Returns whether the end
-- was reached, where to go on, how many jobs the state has, how many were looked at, and the highest score.
local function search(asked, meet)
  local state, since, till, last = asked[1], tonumber(asked[8]), tonumber(asked[9]), tonumber(asked[7])
  local name, like, text, reason = pieces_of(asked[10]), pieces_of(asked[11]), asked[12], asked[13]
  local key, is_list, ascending = base .. state, IS_LIST[state], asked[2] == "asc"
  local finished = state == "completed" or state == "failed"
  local length = call(is_list and "LLEN" or "ZCARD", key)
  local bytes, found, looked_at, wanted = 0, 0, 0, tonumber(asked[6])

  local function is_meant(id, place)
    if string.sub(id, 1, 2) == "0:" or (like and not fits(id, like)) then return false end
    local job = base .. id
    local held = redis.pcall("HMGET", job, "name", "timestamp", "processedOn")
    if held.err or (not held[1] and call("HEXISTS", job, "data") == 0) then return false end
    if name and not fits(held[1] or "", name) then return false end
    local moment = tonumber(finished and place or state ~= "prioritized" and held[3] or held[2] or "")
    if since and not (moment and moment >= since) or till and moment and moment > till then return false end
    if text == "" and reason == "" then return true end
    local texts = call("HMGET", job, "data", "failedReason")
    bytes = bytes + #(texts[1] or "") + #(texts[2] or "")
    return string.find(texts[1] or "", text, 1, true) and string.find(texts[2] or "", reason, 1, true) and true or false
  end

  local ids, places, at_end
  if like and #like == 1 then
    ids, places, at_end = only(key, is_list, asked[11])
  elseif is_list then
    ids, places, at_end = next_of_list(key, asked, length)
  else
    ids, places, at_end = next_of_zset(key, asked, finished, length)
  end
  local top = not is_list and call("ZREVRANGE", key, "0", "0", "WITHSCORES")[2] or ""
  for i = 1, #ids do
    local score = not is_list and tonumber(places[i])
    if score and ascending and ((last and score > last) or (finished and till and score > till))
      or score and not ascending and finished and since and score < since then
      at_end, looked_at = true, #ids
      break
    end
    looked_at = i
    if is_meant(ids[i], places[i]) then
      found = found + 1
      bytes = bytes + (meet(ids[i], places[i]) or 0)
    end
    if found >= wanted or bytes >= ENOUGH then break end
  end
  local after = is_list and digits((places[looked_at] or 1) - (ascending and 0 or 1)) or places[looked_at] or asked[3]
  return { (at_end and looked_at == #ids) and 1 or 0, after, ids[looked_at] or asked[4], length, looked_at, top }
end
