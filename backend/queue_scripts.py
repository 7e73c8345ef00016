"""What the queue does in redis in one atomic step each, as Lua scripts.

They work on rq's own keys (job hashes, lists of waiting job ids, result streams), on a hash
"running" {job id: name of the worker that has it}, and on a lease per living worker: a key that
expires unless its worker renews it. A job is always in exactly one of these places:

    status "queued"               its id is in a queue's list
    status "started"              its id is in the running hash
    status "finished", "failed"   its result is in the result stream, until that expires

A list "wake" has a token per new job for idle workers to block on. Tokens may be too few or too
many, since a woken worker looks at the queues themselves and looks again after a second anyway.
"""

_WAKE_ONE_WORKER = """
redis.call('LPUSH', wake, '1')
redis.call('LTRIM', wake, 0, 63)
"""

# Puts a job into a queue, unless an equal one is waiting, running or finished. The result of a
# finished one is kept for at least as long as a new one's: it must not expire before it is read.
# KEYS: job hash, result stream, list of the queue, list of the last queue, wake
# ARGV: job id, queue name, seconds to keep a result, then field and value of the job hash in turn
# Returns 1 if the job is new.
PUT = f"""
local job, stream, list, last_list, wake = unpack(KEYS)
local id = ARGV[1]
local status = redis.call('HGET', job, 'status')
if status == 'queued' then
  if tonumber(ARGV[3]) > tonumber(redis.call('HGET', job, 'result_ttl')) then
    redis.call('HSET', job, 'result_ttl', ARGV[3])
  end
  -- Asked for again by somebody more urgent: it moves up.
  if list ~= last_list and redis.call('LREM', last_list, 1, id) == 1 then
    redis.call('HSET', job, 'origin', ARGV[2])
    redis.call('RPUSH', list, id)
  end
  return 0
end
if status == 'started' then
  return 0
end
if status == 'finished' and redis.call('EXISTS', stream) == 1 then
  local keep = math.max(ARGV[3], redis.call('TTL', stream))
  redis.call('EXPIRE', stream, keep)
  redis.call('EXPIRE', job, keep)
  return 0
end
redis.call('DEL', job, stream)
redis.call('HSET', job, unpack(ARGV, 4))
redis.call('RPUSH', list, id)
{_WAKE_ONE_WORKER}
return 1
"""

# Takes the first waiting job, and writes down who has it in the same step: a worker that dies at
# whatever moment leaves its name on the job.
# KEYS: running, then the lists of the queues, most urgent first
# ARGV: worker name, prefix of job hashes
# Returns the job id, or nil.
TAKE = """
for i = 2, #KEYS do
  local id = redis.call('LPOP', KEYS[i])
  while id do
    local job = ARGV[2] .. id
    if redis.call('EXISTS', job) == 1 then
      redis.call('HSET', job, 'status', 'started')
      redis.call('HSET', KEYS[1], id, ARGV[1])
      return id
    end
    id = redis.call('LPOP', KEYS[i])
  end
end
"""

# Takes the jobs that follow one in the last queue, to be prepared together with it. One that a
# worker died of is taken alone, so that it takes no others with it.
# KEYS: running, list of the last queue, hash of the job that was taken already
# ARGV: worker name, prefix of job hashes, name of the last queue, most jobs to take
# Returns the job ids.
TAKE_ALONG = """
local running, list, first = unpack(KEYS)
local taken = {}
local about = redis.call('HMGET', first, 'origin', 'lost_workers')
if about[1] ~= ARGV[3] or about[2] then
  return taken
end
while #taken < tonumber(ARGV[4]) do
  local id = redis.call('LINDEX', list, 0)
  if not id then
    break
  end
  local job = ARGV[2] .. id
  if redis.call('HEXISTS', job, 'lost_workers') == 1 then
    break
  end
  redis.call('LPOP', list)
  if redis.call('EXISTS', job) == 1 then
    redis.call('HSET', job, 'status', 'started')
    redis.call('HSET', running, id, ARGV[1])
    table.insert(taken, id)
  end
end
return taken
"""

# Puts jobs that a worker has taken and not begun back to the front of their queue.
# KEYS: running, wake
# ARGV: worker name, prefixes of job hashes and queue lists, then job ids, the last one first
PUT_BACK = f"""
local running, wake = unpack(KEYS)
for i = 4, #ARGV do
  local id, job = ARGV[i], ARGV[2] .. ARGV[i]
  if redis.call('HGET', running, id) == ARGV[1] then
    redis.call('HDEL', running, id)
    if redis.call('HGET', job, 'status') == 'started' then
      redis.call('HSET', job, 'status', 'queued')
      redis.call('LPUSH', ARGV[3] .. redis.call('HGET', job, 'origin'), id)
      {_WAKE_ONE_WORKER}
    end
  end
end
"""

# Gives a job back after its run. One that is still "started" did not get its end written down:
# it counts as abandoned, and nobody's lease ("") never lives.
# KEYS: running, job hash
# ARGV: job id
RELEASE = """
if redis.call('HGET', KEYS[2], 'status') == 'started' then
  redis.call('HSET', KEYS[1], ARGV[1], '')
else
  redis.call('HDEL', KEYS[1], ARGV[1])
end
"""

# Puts the jobs of dead workers back to the front of their queue, once; a job that loses a second
# worker is what kills them, and fails.
# KEYS: running, wake
# ARGV: prefixes of leases, job hashes, queue lists and result streams; seconds to keep a failure;
#       then field and value of the failure's entry in the result stream in turn
# Returns {job ids put back, job ids failed}.
REAP = f"""
local running, wake = unpack(KEYS)
local lease_prefix, job_prefix, list_prefix, stream_prefix, keep = unpack(ARGV, 1, 5)
local put_back, failed = {{}}, {{}}
local holders = redis.call('HGETALL', running)
for i = 1, #holders, 2 do
  local id, worker = holders[i], holders[i + 1]
  if redis.call('EXISTS', lease_prefix .. worker) == 0 then
    local job = job_prefix .. id
    redis.call('HDEL', running, id)
    if redis.call('HGET', job, 'status') == 'started' then
      if redis.call('HINCRBY', job, 'lost_workers', 1) == 1 then
        redis.call('HSET', job, 'status', 'queued')
        redis.call('LPUSH', list_prefix .. redis.call('HGET', job, 'origin'), id)
        {_WAKE_ONE_WORKER}
        table.insert(put_back, id)
      else
        redis.call('HSET', job, 'status', 'failed')
        redis.call('XADD', stream_prefix .. id, '*', unpack(ARGV, 6))
        redis.call('EXPIRE', job, keep)
        redis.call('EXPIRE', stream_prefix .. id, keep)
        table.insert(failed, id)
      end
    end
  end
end
return {{put_back, failed}}
"""
