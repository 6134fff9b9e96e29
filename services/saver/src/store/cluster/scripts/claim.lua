-- Begins to fill a slot or an address: 'filled', 'busy' (another is at it), or 'claimed'.
-- KEYS: 1 its mark, 2 a mark that makes it needless (the slot's, for an address)
-- ARGV: 1 run id, 2 token, 3 lease in ms, 4 '1' to take over from another
local mark = redis.call('GET', KEYS[1])
if mark == ARGV[1] or redis.call('GET', KEYS[2]) == ARGV[1] then return 'filled' end
if mark and mark:sub(1, 5) == 'work:' and ARGV[4] ~= '1' then return 'busy' end
redis.call('SET', KEYS[1], 'work:' .. ARGV[2], 'PX', ARGV[3])
return 'claimed'
