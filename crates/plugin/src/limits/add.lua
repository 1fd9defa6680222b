-- Adds what a gateway has counted by itself, and tells what all have counted. Two keys a limit, as when a request is
-- counted. ARGV: three numbers a limit: the kind, the requests, and the seconds the counter lives or the microseconds
-- between two requests. Answers two numbers a limit: the count and the previous count, or the arrival time and 0.
local answer = {}
for i = 1, #KEYS / 2 do
  local at = (i - 1) * 3
  local kind, requests, third = tonumber(ARGV[at + 1]), tonumber(ARGV[at + 2]), tonumber(ARGV[at + 3])
  local key = KEYS[i * 2 - 1]
  local count, previous = tonumber(redis.call('GET', key) or '0'), 0
  if kind == 2 then
    local time = redis.call('TIME')
    local now = tonumber(time[1]) * 1000000 + tonumber(time[2])
    if requests > 0 then
      count = math.max(count, now) + requests * third
      redis.call('SET', key, string.format('%.0f', count), 'PX', math.ceil((count - now) / 1000) + 1)
    end
  else
    if requests > 0 then
      count = redis.call('INCRBY', key, requests)
      if count == requests then redis.call('EXPIRE', key, third) end
    end
    if kind == 1 then previous = tonumber(redis.call('GET', KEYS[i * 2]) or '0') end
  end
  answer[#answer + 1] = count
  answer[#answer + 1] = previous
end
return answer
