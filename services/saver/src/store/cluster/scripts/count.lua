-- Counts unexpired messages, up to a bound: the broadcast cursor ('' if none is cached), the count, the lowest id counted; or 'unfilled'
-- alone.
-- KEYS: 1 mark of the slot, 2 mark of the address, 3 inbox, 4 cursor
-- ARGV: 1 run id, 2 now in ms, 3 bound
if not is_filled(ARGV[1]) then return 'unfilled' end
local now, bound = tonumber(ARGV[2]), tonumber(ARGV[3])
local count, lowest = 0, ''
for _, field in ipairs(redis.call('HKEYS', KEYS[3])) do
    if count >= bound then break end
    if field:sub(1, 1) == 'm' and tonumber(redis.call('HGET', KEYS[3], field):sub(1, 12), 16) > now then
        count = count + 1
        local id = field:sub(2)
        if lowest == '' or id < lowest then lowest = id end
    end
end
return {redis.call('GET', KEYS[4]) or '', count, lowest}
