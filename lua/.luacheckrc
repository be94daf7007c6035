-- For the scripts as they are sent: every name must be known. What a shared piece offers need not all be used.
std = "lua51"
read_globals = { "redis", "cjson", "cmsgpack", "bit", "struct", "KEYS", "ARGV" }
ignore = { "211" }
max_line_length = false
