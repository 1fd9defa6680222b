-- What is known of a consent: KEYS[1] is a hash with its code, its refresh token and those that it has had, KEYS[2] its
-- access token. Both have the same slot, so each step is whole.
local consent, access_token = KEYS[1], KEYS[2]

-- Lives for so many milliseconds; 0 is for ever.
local function live(key, milliseconds)
  if milliseconds == '0' then
    redis.call('PERSIST', key)
  else
    redis.call('PEXPIRE', key, milliseconds)
  end
end

-- Keeps a token: its hash, its record, how long it lives, the hash of its refresh token if it has one, how long that
-- lives.
local function keep(access, record, lifetime, refresh, refresh_lifetime)
  redis.call('SET', access_token, record)
  live(access_token, lifetime)
  if refresh == '' then
    redis.call('HDEL', consent, 'access', 'refresh', 'record')
  else
    redis.call('HSET', consent, 'access', access, 'refresh', refresh, 'record', record)
    live(consent, refresh_lifetime)
  end
end

-- How long it is known of a consent without end that it was revoked.
local two_weeks = 14 * 86400 * 1000

-- Takes back what has come of the consent. That its code and its refresh tokens are spent stays known.
local function revoke()
  redis.call('DEL', access_token)
  redis.call('HDEL', consent, 'access', 'refresh', 'record')
  if redis.call('PTTL', consent) == -1 then
    redis.call('PEXPIRE', consent, two_weeks)
  end
end

