local known = redis.call('HMGET', consent, 'code', 'spent_on')
if known[1] ~= ARGV[6] then
  return {0}
end
-- The same attempt again, whose answer was lost.
if known[2] == ARGV[1] then
  return {1}
end
if known[2] then
  revoke()
  return {2}
end
redis.call('HSET', consent, 'spent_on', ARGV[1])
keep(ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5])
return {1}
