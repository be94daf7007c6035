-- Reads a job with a parent, a scheduler or a deduplication from ARGV, in the layout that `add_jobs` describes.
local function is_of(kind, key)
  local found = call("TYPE", key).ok
  return found == kind or found == "none"
end

-- Returns the job whose values begin at ARGV[arg], and the number of its values.
local function read_linked(arg)
  local traits = ARGV[arg]
  local job = {
    kind = string.sub(traits, 1, 1), id = ARGV[arg + 1], name = ARGV[arg + 2], data = ARGV[arg + 3], opts = ARGV[arg + 4],
    timestamp = ARGV[arg + 5], delay = ARGV[arg + 6], priority = ARGV[arg + 7],
  }
  local more = arg + 8
  if string.find(traits, "P", 1, true) then
    job.parent = { key = ARGV[more], json = ARGV[more + 1] }
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
  return job, more - arg
end
