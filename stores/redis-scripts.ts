// Every script touches only the key that it is given, because a cluster allows no other. Every script uses the clock of Redis,
// because the values expire by that clock too.

// The value begins after the first newline, see `headerOf` in redis.ts.
const VALUE_OF_STORED = `
local stored = redis.call('GET', KEYS[1])
if not stored then return 0 end
local header = string.find(stored, '\\n', 1, true) or 0
local value = string.sub(stored, header + 1)`

/**
 * Replaces the value by ARGV[2], with the deadline ARGV[3], if it is exactly ARGV[1]. Returns 1 if it did.
 */
export const REPLACE_IF = `${VALUE_OF_STORED}
if value ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[1], ARGV[2], 'PXAT', ARGV[3])
return 1`

/**
 * Deletes the value if it is exactly ARGV[1]. Returns 1 if it did.
 */
export const DELETE_IF = `${VALUE_OF_STORED}
if value ~= ARGV[1] then return 0 end
return redis.call('DEL', KEYS[1])`

// Drops at most ARGV[1] members whose deadline passed more than a minute ago. The minute is for clusters:
// the clock of the node that holds the value may be behind.
const DROP_EXPIRED = `
local ago = string.format('%.0f', redis.call('TIME')[1] * 1000 - 60000)
local expired = redis.call('ZCOUNT', KEYS[1], '-inf', ago)
local dropped = math.min(expired, tonumber(ARGV[1]))
if dropped > 0 then redis.call('ZREMRANGEBYRANK', KEYS[1], 0, dropped - 1) end`

/**
 * Adds the key ARGV[3] with the deadline ARGV[2] to a tag and drops at most ARGV[1] expired members.
 */
// The score of a member is its deadline. It never falls: when two processes write a key at once, either value may win, and the
// member must live as long as that value. Every write raises the score by at least a millisecond, so that DROP_STRAYS notices a
// write in between by the changed score. The tag expires a minute after its last member.
export const INDEX = `${DROP_EXPIRED}
local score = redis.call('ZSCORE', KEYS[1], ARGV[3])
local least = score and score + 1 or 0
redis.call('ZADD', KEYS[1], string.format('%.0f', math.max(tonumber(ARGV[2]), least)), ARGV[3])
local last = redis.call('ZRANGE', KEYS[1], -1, -1, 'WITHSCORES')
redis.call('PEXPIREAT', KEYS[1], string.format('%.0f', last[2] + 60000))
return 1`

/**
 * Returns up to ARGV[1] members with their deadlines, and drops up to ARGV[1] expired members.
 * With ARGV[2] and ARGV[3], the page begins after the member ARGV[3] that has the deadline ARGV[2].
 */
// If that member has another deadline by now, the page begins with the first member that has the deadline ARGV[2].
// Some members may then be returned twice, but none is skipped.
export const PAGE = `${DROP_EXPIRED}
local first = expired - dropped
if ARGV[2] then
  local earlier = redis.call('ZCOUNT', KEYS[1], '-inf', '(' .. ARGV[2])
  local score = redis.call('ZSCORE', KEYS[1], ARGV[3])
  if score and tonumber(score) == tonumber(ARGV[2]) then
    earlier = redis.call('ZRANK', KEYS[1], ARGV[3]) + 1
  end
  first = math.max(first, earlier)
end
return redis.call('ZRANGE', KEYS[1], first, first + ARGV[1] - 1, 'WITHSCORES')`

/**
 * Drops members whose deadline has not changed. ARGV alternates deadlines and members.
 */
export const DROP_STRAYS = `
for index = 1, #ARGV, 2 do
  local score = redis.call('ZSCORE', KEYS[1], ARGV[index + 1])
  if score and tonumber(score) == tonumber(ARGV[index]) then redis.call('ZREM', KEYS[1], ARGV[index + 1]) end
end
return 1`
