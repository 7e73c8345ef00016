"""What becomes of deliveries in redis in one atomic step each, as Lua scripts.

A delivery is a task of a batch whose prediction has to reach Label Studio: in the answer to the
request, or through Label Studio's API. It is a hash with one of these states, and as long as there
is something left to do its id is in the sorted set "due", by milliseconds since 1970:

    asked      a request waits for the job; from its due time on the request is taken for dead
    answered   the result is in an answer that is being sent; from its due time on nobody knows
               whether Label Studio got it
    waiting    the request is over; due is when to look at the job again
    busy       somebody posts it, or nobody knows how a post ended; nobody else may until it is due
    settled    Label Studio has it; not in "due", forgotten after some minutes

A task of a state that may still lead to a prediction is in nobody else's answer: Label Studio asks
for a task that has none yet, as it was when it made its request, and would store a second one.
Times are those of redis' clock, which all machines share.
"""

_NOW = """
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
"""

# A request takes responsibility for a task, unless somebody else has it.
# KEYS: due, delivery
# ARGV: delivery id, request, milliseconds until the request is taken for dead, milliseconds until
#       the delivery is given up, seconds to keep it, then field and value of the delivery in turn
# Returns 1 if the request has it now.
HOLD = f"""
{_NOW}
local due, delivery = unpack(KEYS)
local id, request, hold, lifetime, keep = unpack(ARGV, 1, 5)
local state = redis.call('HGET', delivery, 'state')
local due_at = tonumber(redis.call('ZSCORE', due, id) or 0)
if state == 'settled' then
  -- Either Label Studio asked just before it got the prediction, or the prediction was deleted
  -- since. The API will tell, but only once an answer in flight has been stored.
  local settled_until = now + math.max(0, redis.call('PTTL', delivery))
  redis.call('DEL', delivery)
  redis.call('HSET', delivery, 'state', 'busy', 'holder', '', 'expires', now + lifetime,
    unpack(ARGV, 6))
  redis.call('EXPIRE', delivery, keep)
  redis.call('ZADD', due, settled_until, id)
  return 0
end
if state and state ~= 'waiting' and due_at > now then
  return 0
end
redis.call('DEL', delivery)
redis.call('HSET', delivery, 'state', 'asked', 'holder', request, 'expires', now + lifetime,
  unpack(ARGV, 6))
redis.call('EXPIRE', delivery, keep)
redis.call('ZADD', due, now + hold, id)
return 1
"""

# The end of a request's responsibility for a task.
# KEYS: due, delivery
# ARGV: delivery id, request, what became of the job ("finished": it is in the answer),
#       milliseconds until the answer is taken for lost
# Returns 1 if the request still had it.
HAND_OVER = f"""
{_NOW}
local due, delivery = unpack(KEYS)
local id, request, outcome, patience = unpack(ARGV)
local held = redis.call('HMGET', delivery, 'state', 'holder')
if held[1] ~= 'asked' or held[2] ~= request then
  return 0
end
if outcome == 'finished' then
  redis.call('HSET', delivery, 'state', 'answered')
  redis.call('ZADD', due, now + patience, id)
elseif outcome == 'unfinished' then
  redis.call('HSET', delivery, 'state', 'waiting')
  redis.call('ZADD', due, now, id)
else
  redis.call('DEL', delivery)
  redis.call('ZREM', due, id)
end
return 1
"""

# Label Studio has the prediction.
# KEYS: due, delivery
# ARGV: delivery id, state, holder, seconds to remember that
SETTLE = """
local due, delivery = unpack(KEYS)
local held = redis.call('HMGET', delivery, 'state', 'holder')
if held[1] == ARGV[2] and held[2] == ARGV[3] then
  redis.call('HSET', delivery, 'state', 'settled')
  redis.call('EXPIRE', delivery, ARGV[4])
  redis.call('ZREM', due, ARGV[1])
end
"""

# Takes a delivery that is due and whose job has finished.
# KEYS: the set "due"
# ARGV: prefixes of deliveries, job hashes and result streams; holder; milliseconds until the holder
#       is taken for dead; milliseconds until an unfinished job is looked at again; seconds to keep
#       results; most deliveries to look at
# Returns nil, or {outcome, delivery id, task, project, model version, job id, tries}. The outcome
# is "finished", or why the delivery was given up: "lost" (the job failed or is gone), "too old".
CLAIM = f"""
{_NOW}
local due = KEYS[1]
local prefix, job_prefix, stream_prefix, holder, hold, pause, keep, most = unpack(ARGV)
for _, id in ipairs(redis.call('ZRANGEBYSCORE', due, '-inf', now, 'LIMIT', 0, most)) do
  local delivery = prefix .. id
  local fields = redis.call(
    'HMGET', delivery, 'task', 'project', 'version', 'job', 'tries', 'expires')
  local job = fields[4]
  local outcome = 'lost'
  local status = job and redis.call('HGET', job_prefix .. job, 'status')
  if job and tonumber(fields[6]) < now then
    outcome = 'too old'
  elseif status == 'finished' and redis.call('EXPIRE', stream_prefix .. job, keep) == 1 then
    redis.call('EXPIRE', job_prefix .. job, keep)
    redis.call('HSET', delivery, 'state', 'busy', 'holder', holder)
    redis.call('ZADD', due, now + hold, id)
    return {{'finished', id, unpack(fields, 1, 5)}}
  elseif status == 'queued' or status == 'started' then
    redis.call('HSET', delivery, 'state', 'waiting')
    redis.call('ZADD', due, now + pause, id)
    outcome = nil
  end
  if outcome then
    redis.call('ZREM', due, id)
    redis.call('DEL', delivery)
    if job then
      return {{outcome, id, unpack(fields, 1, 5)}}
    end
  end
end
"""

# A post has failed: the delivery is due again later, or never.
# KEYS: due, delivery
# ARGV: delivery id, holder, milliseconds until it is due; negative gives it up
POSTPONE = f"""
{_NOW}
local due, delivery = unpack(KEYS)
if redis.call('HGET', delivery, 'holder') ~= ARGV[2] then
  return
end
if tonumber(ARGV[3]) < 0 then
  redis.call('ZREM', due, ARGV[1])
  redis.call('DEL', delivery)
else
  redis.call('HINCRBY', delivery, 'tries', 1)
  redis.call('HSET', delivery, 'holder', '')
  redis.call('ZADD', due, now + ARGV[3], ARGV[1])
end
"""
