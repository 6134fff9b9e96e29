-- Removes messages that have ended. Of those whose row may still be on its way to the database (flag F) a tombstone stays, so that
-- a late repeat of their put finds it.
-- KEYS: 1 inbox
-- ARGV: 1 prefix of tombstones, 2 their time to live in ms, then id, state for each
for i = 3, #ARGV, 2 do
    local record = take(KEYS[1], ARGV[i])
    if record and record:sub(13, 13) == 'F' then
        redis.call('SET', ARGV[1] .. ARGV[i], ARGV[i + 1], 'PX', ARGV[2])
    end
end
return 1
