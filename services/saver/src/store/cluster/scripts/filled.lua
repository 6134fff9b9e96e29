-- Included before the scripts that need it: whether what this process holds of the address is complete (S4).
local function is_filled(run)
    return redis.call('GET', KEYS[1]) == run or redis.call('GET', KEYS[2]) == run
end
