-- Adds a message to an inbox unless it is there, applies its collapse key, then the inbox limit (S2, S3).
-- KEYS: 1 mark of the slot, 2 mark of the address, 3 inbox, 4 endings, 5 unflushed, 6 idempotency record, 7 tombstone
-- ARGV: 1 run id, or '' to add whatever the marks say; 2 id; 3 record; 4 time to live in ms; 5 limit, 0 for none;
--       6 collapse key or ''; 7 row for `unflushed`, or '' if the database has it; 8 idempotency record or '';
--       9 its time to live in ms
-- Returns a status, then (id, state, expiry) of each message that was removed for another's sake.
-- Statuses: unfilled, stored, present, ended:<state>, key:<record>. The removed ones stay in `endings` until the database knows.
local run, id, record, collapse, row = ARGV[1], ARGV[2], ARGV[3], ARGV[6], ARGV[7]
local inbox, endings = KEYS[3], KEYS[4]
if run ~= '' and not is_filled(run) then return {'unfilled'} end
if ARGV[8] ~= '' then
    local known = redis.call('GET', KEYS[6])
    if known and known:sub(1, 16) ~= id then return {'key:' .. known} end
end
local present = redis.call('HEXISTS', inbox, 'm' .. id) == 1
local ending = redis.call('HGET', endings, id)
if ending then return {'ended:' .. ending:sub(1, 1)} end
if row ~= '' and not present then
    local state = redis.call('GET', KEYS[7])
    if state then return {'ended:' .. state} end
    redis.call('HSET', KEYS[5], id, row)
    if ARGV[8] ~= '' then redis.call('SET', KEYS[6], ARGV[8], 'PX', ARGV[9]) end
end

local answer = {present and 'present' or 'stored'}
local function lose(loser, its_record, state)
    local expiry = its_record:sub(1, 12)
    redis.call('HSET', endings, loser, state .. expiry)
    table.insert(answer, loser)
    table.insert(answer, state)
    table.insert(answer, expiry)
end

if collapse ~= '' and not present then
    local other = redis.call('HGET', inbox, 'c' .. collapse)
    if other and redis.call('HEXISTS', inbox, 'm' .. other) == 1 then
        if other > id then
            lose(id, record, '4')
            return answer
        end
        lose(other, take(inbox, other), '4')
    end
    redis.call('HSET', inbox, 'c' .. collapse, id)
end
if not present then
    redis.call('HSET', inbox, 'm' .. id, record)
    redis.call('PEXPIRE', inbox, ARGV[4], 'NX')
    redis.call('PEXPIRE', inbox, ARGV[4], 'GT')
end

local limit = tonumber(ARGV[5])
if limit > 0 and redis.call('HLEN', inbox) > limit then
    local ids = {}
    for _, field in ipairs(redis.call('HKEYS', inbox)) do
        if field:sub(1, 1) == 'm' then table.insert(ids, field:sub(2)) end
    end
    if #ids > limit + 1 then table.sort(ids) end
    if #ids == limit + 1 then
        -- The usual case: one too many.
        for i = 2, #ids do
            if ids[i] < ids[1] then ids[1] = ids[i] end
        end
    end
    for i = 1, math.max(#ids - limit, 0) do
        lose(ids[i], take(inbox, ids[i]), '6')
    end
end
return answer
