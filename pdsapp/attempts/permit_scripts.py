"""What Redis or Valkey counts of one token, as Lua: each script is one step that nothing comes between.

Times are milliseconds of the server's own clock, so that workers' clocks need not agree. Sums of a minute
are kept in sixty buckets: the oldest counts in full until its last moment is a minute ago, so that never
more than the limit fall into any minute.
"""

PREFIX = "pds:limit:"
MARKER = PREFIX + "counted-since"

_TIME = """
local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
"""

# KEYS: marker, held, line, seen, requests, tokens, state, places
# ARGV: permit, at once, per minute, tokens per minute (0: no limit), estimate, window, expiry, order in line,
#       group, patience, is after an outage, half rate for, grace after a loss, most ahead, keep marker for
TAKE = (
    _TIME
    + """
local marker, held, line, seen, requests, tokens, state, places = unpack(KEYS)
local permit, group = ARGV[1], ARGV[9]
local at_once, per_minute, token_limit = tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
local estimate, window, expiry = tonumber(ARGV[5]), tonumber(ARGV[6]), tonumber(ARGV[7])
local order, patience = tonumber(ARGV[8]), tonumber(ARGV[10])
local half_for, grace, most_ahead, keep = tonumber(ARGV[12]), tonumber(ARGV[13]), tonumber(ARGV[14]), ARGV[15]

local since = tonumber(redis.call('GET', marker) or '')
if not since or ARGV[11] == '1' or since > now + 1000 then since = now end
redis.call('SET', marker, since, 'PX', keep)
local is_half = now - since < half_for
local function part(limit)
  if is_half then return math.max(1, math.floor(limit / 2)) end
  return limit
end

local size = window / 60
local bucket = math.floor(now / size)
local function sum(key)
  local total, kept, gone, fields = 0, {}, {}, redis.call('HGETALL', key)
  for i = 1, #fields, 2 do
    local at = tonumber(fields[i])
    if at < bucket - 60 or at > bucket + 60 then gone[#gone + 1] = fields[i]
    else
      total = total + fields[i + 1]
      kept[#kept + 1] = {at, tonumber(fields[i + 1])}
    end
  end
  if #gone > 0 then redis.call('HDEL', key, unpack(gone)) end
  table.sort(kept, function(a, b) return a[1] < b[1] end)
  return total, kept
end
local function until_room(kept, total, room)
  for _, each in ipairs(kept) do
    total = total - each[2]
    if total <= room then return math.max(1, (each[1] + 61) * size - now) end
  end
  return window
end

local wait, why = 0, ''
local function holds_back(milliseconds, reason)
  if milliseconds > wait then wait, why = milliseconds, reason end
end

local rest = tonumber(redis.call('HGET', state, 'rest') or '0')
holds_back(math.min(rest - now, most_ahead * 12), 'rest')

for _, other in ipairs(redis.call('ZRANGEBYSCORE', seen, '-inf', now - 1500)) do
  redis.call('ZREM', line, other)
  redis.call('ZREM', seen, other)
end
local own = redis.call('ZSCORE', line, permit)
local place = own and tonumber(own) or order * 1e14 + now
local ahead = redis.call('ZCOUNT', line, '-inf', '(' .. string.format('%.0f', place))
local spacing = 20

if at_once > 0 then
  redis.call('ZREMRANGEBYSCORE', held, '-inf', now)
  redis.call('ZREMRANGEBYSCORE', held, now + 2 * expiry, '+inf')
  if now - since < grace then holds_back(grace - (now - since), 'begin') end
  local lasts = tonumber(redis.call('HGET', state, 'lasts') or '2000')
  spacing = math.max(spacing, lasts / part(at_once))
  local free = part(at_once) - redis.call('ZCARD', held)
  if free <= ahead then
    holds_back(math.max(50, (ahead + 1 - math.max(0, free) - 0.5) * lasts / part(at_once)), 'at_once')
  end
end
if per_minute > 0 then
  spacing = math.max(spacing, window / part(per_minute))
  local total, kept = sum(requests)
  local room = part(per_minute) - 1 - ahead
  if total > room then holds_back(until_room(kept, total, math.max(0, room)), 'per_minute') end
end
if token_limit > 0 then
  spacing = math.max(spacing, window * estimate / part(token_limit))
  local total, kept = sum(tokens)
  local room = math.max(0, part(token_limit) - estimate * (1 + ahead))
  if total > room then holds_back(until_room(kept, total, room), 'tokens') end
end

if wait > 0 then
  if wait <= patience then
    if not own then redis.call('ZADD', line, place, permit) end
    redis.call('ZADD', seen, now, permit)
    redis.call('PEXPIRE', line, 60000)
    redis.call('PEXPIRE', seen, 60000)
    return {0, math.ceil(wait), 0, why, bucket}
  end
  redis.call('ZREM', line, permit)
  redis.call('ZREM', seen, permit)
  -- what a person waits for has places of its own, not behind those of a batch; other limits, other places
  local queue = table.concat({group, order, at_once, per_minute, token_limit}, ':')
  local last = tonumber(redis.call('HGET', places, queue) or '0')
  local at = math.max(now + wait, last + spacing)
  local furthest = now + wait + most_ahead
  if at > furthest then at = furthest end
  redis.call('HSET', places, queue, string.format('%.0f', at))
  redis.call('PEXPIRE', places, math.ceil(at - now + 60000))
  return {0, math.ceil(at - now), 1, why, bucket}
end

redis.call('ZREM', line, permit)
redis.call('ZREM', seen, permit)
if at_once > 0 then
  redis.call('ZADD', held, now + expiry, permit)
  redis.call('PEXPIRE', held, 2 * expiry)
end
if per_minute > 0 then
  redis.call('HINCRBY', requests, bucket, 1)
  redis.call('PEXPIRE', requests, 2 * window)
end
if token_limit > 0 then
  redis.call('HINCRBY', tokens, bucket, estimate)
  redis.call('PEXPIRE', tokens, 2 * window)
end
return {1, 0, 0, '', bucket}
"""
)

# KEYS: held, tokens, state. ARGV: permit, bucket, tokens more (or less) than was reserved, milliseconds it
# was held (-1: unknown), rest in milliseconds (0: none)
RELEASE = (
    _TIME
    + """
redis.call('ZREM', KEYS[1], ARGV[1])
local more, lasted, rest = tonumber(ARGV[3]), tonumber(ARGV[4]), tonumber(ARGV[5])
if more ~= 0 and redis.call('HEXISTS', KEYS[2], ARGV[2]) == 1 then
  if redis.call('HINCRBY', KEYS[2], ARGV[2], more) < 0 then redis.call('HSET', KEYS[2], ARGV[2], 0) end
end
if lasted >= 0 then
  local before = tonumber(redis.call('HGET', KEYS[3], 'lasts') or lasted)
  redis.call('HSET', KEYS[3], 'lasts', math.max(10, math.floor(before * 0.8 + lasted * 0.2)))
end
if rest > 0 then
  local before = tonumber(redis.call('HGET', KEYS[3], 'rest') or '0')
  redis.call('HSET', KEYS[3], 'rest', string.format('%.0f', math.max(before, now + rest)))
end
if redis.call('EXISTS', KEYS[3]) == 1 then
  redis.call('PEXPIRE', KEYS[3], math.max(3600000, 2 * rest, redis.call('PTTL', KEYS[3])))
end
return 1
"""
)

# KEYS: held. ARGV: expiry, permits …
RENEW = (
    _TIME
    + """
for i = 2, #ARGV do redis.call('ZADD', KEYS[1], now + ARGV[1], ARGV[i]) end
redis.call('PEXPIRE', KEYS[1], 2 * ARGV[1])
return 1
"""
)


def keys_of(subject: str) -> dict[str, str]:
    """The keys of one token (or endpoint) by name."""
    names = ("held", "line", "seen", "requests", "tokens", "state", "places")
    return {name: f"{PREFIX}{{{subject}}}:{name}" for name in names}
