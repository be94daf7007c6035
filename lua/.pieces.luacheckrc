-- For the files one by one, which name what other pieces define and leave to others what they define.
std = "lua51"
global = false
unused = false
max_line_length = 125
