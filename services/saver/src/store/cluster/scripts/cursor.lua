-- Caches a broadcast cursor, unless a newer one is there. A cursor begins with its version, 8 bytes big-endian.
-- KEYS: 1 cursor; ARGV: 1 value, 2 time to live in ms
local function older(a, b)
    for i = 1, 8 do
        if a:byte(i) ~= b:byte(i) then return a:byte(i) < b:byte(i) end
    end
    return false
end
local known = redis.call('GET', KEYS[1])
if known and older(ARGV[1], known) then return 0 end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return 1
