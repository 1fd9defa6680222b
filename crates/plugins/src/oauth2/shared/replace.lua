-- ARGV[6] and ARGV[7] are the access token and the refresh token that are replaced, ARGV[8] how much is remembered of
-- refresh tokens that were.
local known = redis.call('HMGET', consent, 'access', 'refresh', 'spent')
-- The same attempt again, whose answer was lost.
if known[1] == ARGV[1] then
  return {1}
end
if known[1] ~= ARGV[6] or known[2] ~= ARGV[7] then
  return {0}
end
if ARGV[4] ~= ARGV[7] then
  redis.call('HSET', consent, 'spent', string.sub(ARGV[7] .. (known[3] or ''), 1, tonumber(ARGV[8])))
end
keep(ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5])
return {1}
