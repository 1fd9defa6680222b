-- Counts a request against every limit if each has room, in one step. Two keys a limit: the current window's and the
-- one's before (both the same where that does not matter). ARGV: 1 if refused requests count in sliding windows, then
-- four numbers a limit: the kind, the limit, and
--   0 fixed:   seconds the counter lives, unused
--   1 sliding: seconds the counter lives, millionths of the previous window that count
--   2 smooth:  microseconds between two requests, unused; the time is this server's, one for all gateways
-- Answers: 1 if admitted, then two numbers a limit: the count and the previous count, or (2) the arrival time less now.
local now = 0
local admitted = 1
local limits = #KEYS / 2
local count, previous = {}, {}
for i = 1, limits do
  local at = (i - 1) * 4 + 1
  local kind, limit, first, second = tonumber(ARGV[at + 1]), tonumber(ARGV[at + 2]), tonumber(ARGV[at + 3]), tonumber(ARGV[at + 4])
  local held = tonumber(redis.call('GET', KEYS[i * 2 - 1]) or '0')
  if kind == 2 then
    if now == 0 then
      local time = redis.call('TIME')
      now = tonumber(time[1]) * 1000000 + tonumber(time[2])
    end
    -- Further ahead than requests can have brought it: of a clock that has been set back.
    if held > now + 64 * first * limit + 600000000 then
      held = now + first * limit
      redis.call('SET', KEYS[i * 2 - 1], string.format('%.0f', held), 'PX', math.ceil(first * limit / 1000) + 1)
    end
    count[i], previous[i] = math.max(held, now), 0
    if count[i] + first > now + first * limit then admitted = 0 end
  else
    count[i], previous[i] = held, 0
    local weighed = held
    if kind == 1 then
      previous[i] = tonumber(redis.call('GET', KEYS[i * 2]) or '0')
      weighed = held + previous[i] * second / 1000000
    end
    if weighed + 1 > limit then admitted = 0 end
  end
end
local answer = {admitted}
for i = 1, limits do
  local at = (i - 1) * 4 + 1
  local kind, first = tonumber(ARGV[at + 1]), tonumber(ARGV[at + 3])
  local key = KEYS[i * 2 - 1]
  if admitted == 1 or (kind == 1 and ARGV[1] == '1') then
    if kind == 2 then
      count[i] = count[i] + first
      redis.call('SET', key, string.format('%.0f', count[i]), 'PX', math.ceil((count[i] - now) / 1000) + 1)
    else
      count[i] = redis.call('INCR', key)
      if count[i] == 1 then redis.call('EXPIRE', key, first) end
    end
  end
  if kind == 2 then count[i] = count[i] - now end
  answer[#answer + 1] = count[i]
  answer[#answer + 1] = previous[i]
end
return answer
