local known = redis.call('HMGET', consent, 'refresh', 'record', 'spent')
if known[1] == ARGV[1] then
  return {1, known[2]}
end
local spent = known[3] or ''
for start = 1, #spent, #ARGV[1] do
  if string.sub(spent, start, start + #ARGV[1] - 1) == ARGV[1] then
    revoke()
    return {2}
  end
end
return {0}
