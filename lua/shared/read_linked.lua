-- Reads a job with a parent, a scheduler or a deduplication from the arguments, as `add_jobs` lists them.
local function is_of(kind, key)
  local found = call("TYPE", key).ok
  return found == kind or found == "none"
end

-- The job whose values begin at `at`, and how many they are.
local function read_linked(at)
  local traits = ARGV[at]
  local job = {
    kind = string.sub(traits, 1, 1), id = ARGV[at + 1], name = ARGV[at + 2], data = ARGV[at + 3], opts = ARGV[at + 4],
    at = ARGV[at + 5], delay = ARGV[at + 6], priority = ARGV[at + 7],
  }
  local more = at + 8
  if string.find(traits, "P", 1, true) then
    job.parent = { key = ARGV[more], json = ARGV[more + 1] }
    job.in_flow = string.find(traits, "F", 1, true)
    more = more + 2
  end
  if string.find(traits, "S", 1, true) then
    job.rjk = ARGV[more]
    more = more + 1
  end
  if string.find(traits, "D", 1, true) then
    local how = ARGV[more + 2]
    job.de = {
      id = ARGV[more], ttl = ARGV[more + 1] ~= "" and ARGV[more + 1], extend = string.find(how, "e", 1, true),
      replace = string.find(how, "r", 1, true), keep = string.find(how, "k", 1, true),
      reschedule = string.find(how, "s", 1, true),
    }
    more = more + 3
  end
  return job, more - at
end
