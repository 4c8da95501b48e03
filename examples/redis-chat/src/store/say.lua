-- Says a message once, and tells of it; its id. Redis runs a script as a whole, or not at all.
-- KEYS: the stream of messages, the hash of their keys. ARGV: how many are kept, key, name, text.
local said = redis.call('HGET', KEYS[2], ARGV[2])
if said then return said end

local id = redis.call('XADD', KEYS[1], '*', 'key', ARGV[2], 'name', ARGV[3], 'text', ARGV[4])
redis.call('HSET', KEYS[2], ARGV[2], id)

-- A key is known for as long as its message is there.
local extra = redis.call('XLEN', KEYS[1]) - ARGV[1]
if extra > 0 then
    for _, entry in ipairs(redis.call('XRANGE', KEYS[1], '-', '+', 'COUNT', extra)) do
        redis.call('HDEL', KEYS[2], entry[2][2])
    end
    redis.call('XTRIM', KEYS[1], 'MAXLEN', ARGV[1])
end

redis.call('PUBLISH', KEYS[1], id)
return id
