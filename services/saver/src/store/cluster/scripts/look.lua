-- What an inbox holds: the broadcast cursor ('' if none is cached), then all fields; or 'unfilled' alone.
-- KEYS: 1 mark of the slot, 2 mark of the address, 3 inbox, 4 cursor
-- ARGV: 1 run id
if not is_filled(ARGV[1]) then return 'unfilled' end
local fields = redis.call('HKEYS', KEYS[3])
table.insert(fields, 1, redis.call('GET', KEYS[4]) or '')
return fields
