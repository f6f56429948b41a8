local M = {}
function M.count(n)
  local c = 0
  for i = 2, n do local p = true; local d = 2
    while d * d <= i do if i % d == 0 then p = false; break end; d = d + 1 end
    if p then c = c + 1 end
  end
  return c
end
return M
