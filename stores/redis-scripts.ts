// Every script touches the one key it is given, so that it runs on any cluster, and computes with
// the clock of Redis, which is also the one that ends the values.

// The value begins behind the first newline, see `headerOf`.
const VALUE_OF_STORED = `
local stored = redis.call('GET', KEYS[1])
if not stored then return 0 end
local header = string.find(stored, '\\n', 1, true) or 0
local value = string.sub(stored, header + 1)`

/**
 * Replaces a value that is exactly ARGV[1] by ARGV[2], with the deadline ARGV[3]; returns 1 if it did.
 */
export const REPLACE_IF = `${VALUE_OF_STORED}
if value ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[1], ARGV[2], 'PXAT', ARGV[3])
return 1`

/**
 * Deletes a value that is exactly ARGV[1]; returns 1 if it did.
 */
export const DELETE_IF = `${VALUE_OF_STORED}
if value ~= ARGV[1] then return 0 end
return redis.call('DEL', KEYS[1])`

// Only a member whose deadline has passed is dropped. The minute is for the nodes of a cluster, whose
// clocks differ; ARGV[1] bounds the work.
const DROP_EXPIRED = `
local ago = string.format('%.0f', redis.call('TIME')[1] * 1000 - 60000)
local expired = redis.call('ZCOUNT', KEYS[1], '-inf', ago)
local dropped = math.min(expired, tonumber(ARGV[1]))
if dropped > 0 then redis.call('ZREMRANGEBYRANK', KEYS[1], 0, dropped - 1) end`

/**
 * Adds the key ARGV[3] with the deadline ARGV[2] to a tag and drops at most ARGV[1] expired members.
 */
// A score only ever rises: of two writers at once the value of either may win, and it must not outlive
// its member. It rises with every writer, at least by a millisecond, so that whoever is about to drop
// the member sees that somebody has come. The tag lives as long as its last member.
export const INDEX = `${DROP_EXPIRED}
local score = redis.call('ZSCORE', KEYS[1], ARGV[3])
local least = score and score + 1 or 0
redis.call('ZADD', KEYS[1], string.format('%.0f', math.max(tonumber(ARGV[2]), least)), ARGV[3])
local last = redis.call('ZRANGE', KEYS[1], -1, -1, 'WITHSCORES')
redis.call('PEXPIREAT', KEYS[1], string.format('%.0f', last[2] + 60000))
return 1`

/**
 * Returns up to ARGV[1] members with their deadlines, those behind the member ARGV[3] with the
 * deadline ARGV[2] if given, and drops as many that have expired.
 */
// Where that member has moved meanwhile, all of its deadline come again: twice rather than never.
export const PAGE = `${DROP_EXPIRED}
local first = expired - dropped
if ARGV[2] then
  local behind = redis.call('ZCOUNT', KEYS[1], '-inf', '(' .. ARGV[2])
  local score = redis.call('ZSCORE', KEYS[1], ARGV[3])
  if score and tonumber(score) == tonumber(ARGV[2]) then
    behind = redis.call('ZRANK', KEYS[1], ARGV[3]) + 1
  end
  first = math.max(first, behind)
end
return redis.call('ZRANGE', KEYS[1], first, first + ARGV[1] - 1, 'WITHSCORES')`

/**
 * Drops members that still have the deadlines they were seen with: ARGV holds a deadline and a member in turn.
 */
export const DROP_STRAYS = `
for index = 1, #ARGV, 2 do
  local score = redis.call('ZSCORE', KEYS[1], ARGV[index + 1])
  if score and tonumber(score) == tonumber(ARGV[index]) then redis.call('ZREM', KEYS[1], ARGV[index + 1]) end
end
return 1`
