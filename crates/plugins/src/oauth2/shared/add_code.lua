redis.call('HSET', consent, 'code', ARGV[1], 'code_record', ARGV[2])
live(consent, ARGV[3])
return {1}
