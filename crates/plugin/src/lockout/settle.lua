-- Rules on an attempt to prove a credential, in one step. A key for each count: its window, the failures in it, and those in
-- the one before, of which as many count as lie within one length from now. ARGV: what the attempt came to (0: nothing to
-- count, 1: it failed, 2: it succeeded, which clears the first count), the seconds of a window, and a limit for each key.
-- Answers: 1 if there is room in every count, the time in milliseconds, then for each the failures in the window and before.
local time = redis.call('TIME')
local now = tonumber(time[1]) + tonumber(time[2]) / 1000000
local length = tonumber(ARGV[2])
local window = math.floor(now / length)
local left = window + 1 - now / length
local admitted, count, before = 1, {}, {}
for i, key in ipairs(KEYS) do
  local held = redis.call('HMGET', key, 'window', 'count', 'before')
  local of = tonumber(held[1] or '0')
  count[i], before[i] = 0, 0
  if of == window then
    count[i], before[i] = tonumber(held[2]), tonumber(held[3])
  elseif of == window - 1 then
    before[i] = tonumber(held[2])
  end
  if count[i] + before[i] * left + 1 > tonumber(ARGV[i + 2]) then admitted = 0 end
end
if admitted == 1 and ARGV[1] == '1' then
  for i, key in ipairs(KEYS) do
    count[i] = count[i] + 1
    redis.call('HSET', key, 'window', window, 'count', count[i], 'before', before[i])
    redis.call('EXPIRE', key, 2 * length)
  end
elseif admitted == 1 and ARGV[1] == '2' then
  redis.call('DEL', KEYS[1])
end
local answer = {admitted, math.floor(now * 1000)}
for i in ipairs(KEYS) do
  answer[#answer + 1] = count[i]
  answer[#answer + 1] = before[i]
end
return answer
