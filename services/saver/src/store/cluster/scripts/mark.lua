-- Ends or prolongs a fill, if it is still the caller's: FLUSHALL, a takeover or a lapsed lease make it start again.
-- KEYS: 1 the mark
-- ARGV: 1 token, 2 value to set, or '' to prolong, 3 time to live in ms, 0 for ever
if redis.call('GET', KEYS[1]) ~= 'work:' .. ARGV[1] then return 0 end
if ARGV[2] == '' then
    redis.call('PEXPIRE', KEYS[1], ARGV[3])
elseif ARGV[3] == '0' then
    redis.call('SET', KEYS[1], ARGV[2])
else
    redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
end
return 1
