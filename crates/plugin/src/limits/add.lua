-- Adds what a gateway has counted by itself, and tells what all have counted. Two keys a limit, as when a request is
-- counted. ARGV: four numbers a limit: the kind, the requests, the seconds the counter lives or the microseconds between
-- two requests, and the requests of the window before or those that may come at once. Answers two numbers a limit: the
-- count and the previous count, or the arrival time less now and 0.
local answer = {}
for i = 1, #KEYS / 2 do
  local at = (i - 1) * 4
  local kind, requests, third, fourth = tonumber(ARGV[at + 1]), tonumber(ARGV[at + 2]), tonumber(ARGV[at + 3]), tonumber(ARGV[at + 4])
  local key, before = KEYS[i * 2 - 1], KEYS[i * 2]
  local count, previous = tonumber(redis.call('GET', key) or '0'), 0
  if kind == 2 then
    local time = redis.call('TIME')
    local now = tonumber(time[1]) * 1000000 + tonumber(time[2])
    local burst = third * fourth
    -- Of a clock that has been set back, as where a request is counted.
    if count > now + 64 * burst + 600000000 then
      count = now + burst
      redis.call('SET', key, string.format('%.0f', count), 'PX', math.ceil(burst / 1000) + 1)
    end
    count = math.max(count, now)
    if requests > 0 then
      count = count + requests * third
      redis.call('SET', key, string.format('%.0f', count), 'PX', math.ceil((count - now) / 1000) + 1)
    end
    count = count - now
  else
    if requests > 0 then
      count = redis.call('INCRBY', key, requests)
      if count == requests then redis.call('EXPIRE', key, third) end
    end
    if kind == 1 then
      if fourth > 0 and redis.call('INCRBY', before, fourth) == fourth then redis.call('EXPIRE', before, third) end
      previous = tonumber(redis.call('GET', before) or '0')
    end
  end
  answer[#answer + 1] = count
  answer[#answer + 1] = previous
end
return answer
