-- Included before the scripts that need it: removes a message, and the collapse key that points at it.
-- A record begins with its expiry (12 hexadecimal digits), a flag, the length of the collapse key, and the key.
local function take(inbox, id)
    local record = redis.call('HGET', inbox, 'm' .. id)
    if not record then return nil end
    redis.call('HDEL', inbox, 'm' .. id)
    local length = record:byte(14)
    if length > 0 then
        local index = 'c' .. record:sub(15, 14 + length)
        if redis.call('HGET', inbox, index) == id then redis.call('HDEL', inbox, index) end
    end
    return record
end
