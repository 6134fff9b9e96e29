-- The first of the given messages that are there and not expired: whether there are more, then id and record of each; or
-- 'unfilled' alone. What expired long ago was left over by an ending that did not get here, and goes.
-- KEYS: 1 mark of the slot, 2 mark of the address, 3 inbox
-- ARGV: 1 run id, 2 now in ms, 3 limit, 4 most bytes beyond the first, then ids in order
if not is_filled(ARGV[1]) then return 'unfilled' end
local now, limit, bytes = tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
local page, count, used = {0}, 0, 0
for i = 5, #ARGV do
    local record = redis.call('HGET', KEYS[3], 'm' .. ARGV[i])
    local expiry = record and tonumber(record:sub(1, 12), 16)
    if record and expiry > now then
        used = used + #record - 14 - record:byte(14) - 9
        if count > 0 and (count >= limit or used > bytes) then
            page[1] = 1
            break
        end
        count = count + 1
        table.insert(page, ARGV[i])
        table.insert(page, record)
    elseif record and expiry + 86400000 < now then
        take(KEYS[3], ARGV[i])
    end
end
return page
