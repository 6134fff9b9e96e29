-- The expiry of a message, or nil.
-- KEYS: 1 inbox; ARGV: 1 id
local record = redis.call('HGET', KEYS[1], 'm' .. ARGV[1])
return record and record:sub(1, 12)
