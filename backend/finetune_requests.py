"""Requests to learn from a project, in redis: web processes ask, a trainer takes.

Of a project at most one request waits and one is being worked on, however often it is asked for.
Every step is one Lua script, so any number of web processes and trainers may do this at once. In
redis are

    self1e:finetune:due         sorted set: project ids that wait, by the time they are due
    self1e:finetune:running     hash: project id -> name of the trainer that has taken it
    self1e:finetune:lost        hash: project id -> how many trainers died while they had it
    self1e:finetune:lease:NAME  a key per living trainer, which expires unless it is renewed
    self1e:finetune:new:ID      set: ids of the annotations accepted since the last training began
"""

import time
from collections.abc import Collection
from typing import cast

import redis

from backend.queue import unavailable_as_error

DEBOUNCE_SECONDS = 30.0
"""How long a training that annotations ask for waits for more of them."""

LEASE_SECONDS = 30
LEASE_RENEWAL_SECONDS = 5.0

_DUE = "self1e:finetune:due"
_RUNNING = "self1e:finetune:running"
_LOST = "self1e:finetune:lost"
_LEASE = "self1e:finetune:lease:"
_NEW = "self1e:finetune:new:"
_WAKE = "self1e:finetune:wake"

_LOOK_SECONDS = 1.0

_NOW = """
local time = redis.call('TIME')
local now = time[1] + time[2] / 1000000
"""

# A request that waits already becomes due at the earlier of the two times.
# KEYS: due, wake
# ARGV: project id, seconds until it is due
_REQUEST = f"""
{_NOW}
local due = now + ARGV[2]
local waiting = redis.call('ZSCORE', KEYS[1], ARGV[1])
if not waiting or tonumber(waiting) > due then
  redis.call('ZADD', KEYS[1], due, ARGV[1])
end
redis.call('LPUSH', KEYS[2], '1')
redis.call('LTRIM', KEYS[2], 0, 0)
"""

# KEYS: new, due
# ARGV: project id, how many accepted annotations ask for a training, seconds until it is due, then
#       ids of annotations
_ACCEPT = f"""
redis.call('SADD', KEYS[1], unpack(ARGV, 4))
if redis.call('SCARD', KEYS[1]) >= tonumber(ARGV[2]) then
  {_NOW}
  redis.call('ZADD', KEYS[2], 'NX', now + ARGV[3], ARGV[1])
end
"""

# The first that is due, of a project that is not being worked on; but first the one that this
# trainer has already, if the reply that told it so was lost. What is accepted from now on counts
# for the next one.
# KEYS: due, running
# ARGV: trainer, prefix of the sets of new annotations
_TAKE = f"""
{_NOW}
local holders = redis.call('HGETALL', KEYS[2])
for i = 1, #holders, 2 do
  if holders[i + 1] == ARGV[1] then
    return holders[i]
  end
end
for _, project in ipairs(redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', now)) do
  if redis.call('HSETNX', KEYS[2], project, ARGV[1]) == 1 then
    redis.call('ZREM', KEYS[1], project)
    redis.call('DEL', ARGV[2] .. project)
    return project
  end
end
"""

# KEYS: running, lost
# ARGV: project id, trainer
_DONE = """
if redis.call('HGET', KEYS[1], ARGV[1]) == ARGV[2] then
  redis.call('HDEL', KEYS[1], ARGV[1])
  redis.call('HDEL', KEYS[2], ARGV[1])
end
"""

# Puts the requests of dead trainers back, once.
# KEYS: due, running, lost
# ARGV: prefix of leases
# Returns {project ids put back, project ids given up}.
_REAP = f"""
{_NOW}
local put_back, given_up = {{}}, {{}}
local holders = redis.call('HGETALL', KEYS[2])
for i = 1, #holders, 2 do
  local project, trainer = holders[i], holders[i + 1]
  if redis.call('EXISTS', ARGV[1] .. trainer) == 0 then
    redis.call('HDEL', KEYS[2], project)
    if redis.call('HINCRBY', KEYS[3], project, 1) == 1 then
      redis.call('ZADD', KEYS[1], now, project)
      table.insert(put_back, project)
    else
      redis.call('HDEL', KEYS[3], project)
      table.insert(given_up, project)
    end
  end
end
return {{put_back, given_up}}
"""


class FinetuneRequests:
    """The requests as web processes and trainers see them.

    All methods raise QueueUnavailableError when redis does not answer or refuses, and work again as
    soon as it does.
    """

    def __init__(self, connection: redis.Redis) -> None:
        """Args: connection: as `backend.queue.connect` makes it; stays the caller's."""
        self._redis = connection

    def request(self, project_id: int) -> None:
        """Asks for a training now."""
        with unavailable_as_error():
            self._redis.eval(_REQUEST, 2, _DUE, _WAKE, project_id, 0)

    def accept(
        self, project_id: int, annotation_ids: Collection[int], *, finetune_after: int
    ) -> None:
        """Counts accepted annotations, each once however often it is saved.

        Args:
            project_id: their project.
            annotation_ids: their ids.
            finetune_after: from how many new ones on a training is asked for; 1 or more.
        """
        if annotation_ids:
            arguments = [project_id, finetune_after, DEBOUNCE_SECONDS, *annotation_ids]
            with unavailable_as_error():
                self._redis.eval(_ACCEPT, 2, f"{_NEW}{project_id}", _DUE, *arguments)

    def withdraw(self, project_id: int, annotation_ids: Collection[int]) -> None:
        """Counts annotations no longer: they were deleted, or are cancelled now."""
        if annotation_ids:
            with unavailable_as_error():
                self._redis.srem(f"{_NEW}{project_id}", *annotation_ids)

    def take(self, trainer: str, timeout: float) -> int | None:
        """Takes a request that is due, waiting for one at most `timeout` seconds.

        Args:
            trainer: who takes it, the holder of a lease. It has one at a time.
            timeout: in seconds; 0 does not wait.

        Returns:
            The project's id, or None.
        """
        deadline = time.monotonic() + timeout
        while True:
            with unavailable_as_error():
                taken = self._redis.eval(_TAKE, 2, _DUE, _RUNNING, trainer, _NEW)
                if taken is not None:
                    return int(cast(bytes, taken))
                left = deadline - time.monotonic()
                if left <= 0:
                    return None
                # Becoming due wakes nobody, so it looks again after a second anyway.
                self._redis.blpop([_WAKE], min(left, _LOOK_SECONDS))

    def done(self, project_id: int, trainer: str) -> None:
        """Says that the trainer's work on a request has ended, well or not."""
        with unavailable_as_error():
            self._redis.eval(_DONE, 2, _RUNNING, _LOST, project_id, trainer)

    def renew_lease(self, trainer: str) -> None:
        """Says that this trainer is alive, for LEASE_SECONDS."""
        with unavailable_as_error():
            self._redis.set(_LEASE + trainer, "1", ex=LEASE_SECONDS)

    def end_lease(self, trainer: str) -> None:
        """Says that this trainer has left."""
        with unavailable_as_error():
            self._redis.delete(_LEASE + trainer)

    def reap(self) -> tuple[list[int], list[int]]:
        """Puts the requests of dead trainers back; one that loses a second trainer is given up.

        Returns:
            Ids of the projects put back, and of those given up.
        """
        with unavailable_as_error():
            # Leases expire while redis is down: give living trainers the time to renew theirs.
            if self._redis.info("server")["uptime_in_seconds"] < 2 * LEASE_RENEWAL_SECONDS:
                return [], []
            put_back, given_up = cast(
                "list[list[bytes]]", self._redis.eval(_REAP, 3, _DUE, _RUNNING, _LOST, _LEASE)
            )
        return [int(id_) for id_ in put_back], [int(id_) for id_ in given_up]
