return redis.call('HMGET', consent, 'code', 'code_record')
