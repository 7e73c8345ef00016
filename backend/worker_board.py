"""Which workers there are: each says so in redis every second.

A worker's lease (see `queue`) decides what becomes of its jobs and is gone five seconds after it;
what it says here is for people and stays for some minutes, so that they see which one is missing.
"""

import contextlib
import json
import os
import socket
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from typing import Literal, cast
from uuid import uuid4

from backend.errors import QueueUnavailableError
from backend.queue import LEASE_RENEWAL_SECONDS, LEASE_SECONDS, JobQueue, unavailable_as_error
from backend.repeating import repeating

WorkerState = Literal["loading", "ready", "away"]
WORKER_STATES: tuple[WorkerState, ...] = ("loading", "ready", "away")

# How long a worker that was not stopped in order is remembered as away.
REMEMBERED_SECONDS = 600

_WORKERS_KEY = "self1e:workers"
_WORKER_PREFIX = "self1e:worker:"


@dataclass(frozen=True)
class WorkerRecord:
    """What a worker says of itself.

    `model_version` is empty while the model loads; `device` is then the setting, later what torch
    calls it. "away" is never said: it is what a worker is that has not said anything for as long
    as its lease lasts.
    """

    id: str
    name: str
    state: WorkerState
    model_version: str
    device: str
    hostname: str
    pid: int

    @classmethod
    def of_this_process(
        cls, name: str, device: str, *, model_version: str | None = None
    ) -> "WorkerRecord":
        """The record of a worker in this process, under a new id; loading without a version."""
        return cls(
            id=uuid4().hex,
            name=name,
            state="loading" if model_version is None else "ready",
            model_version=model_version or "",
            device=device,
            hostname=socket.gethostname(),
            pid=os.getpid(),
        )


def publish_worker(queue: JobQueue, record: WorkerRecord) -> None:
    """Says that the worker is alive.

    Raises:
        QueueUnavailableError: redis does not answer.
    """
    now = time.time()
    with unavailable_as_error(), queue.redis.pipeline(transaction=False) as pipeline:
        pipeline.set(_WORKER_PREFIX + record.id, json.dumps(asdict(record)), ex=REMEMBERED_SECONDS)
        pipeline.zadd(_WORKERS_KEY, {record.id: now})
        pipeline.zremrangebyscore(_WORKERS_KEY, 0, now - REMEMBERED_SECONDS)
        pipeline.execute()


def withdraw_worker(queue: JobQueue, worker_id: str) -> None:
    """Forgets a worker that leaves in order.

    Raises:
        QueueUnavailableError: redis does not answer.
    """
    with unavailable_as_error(), queue.redis.pipeline(transaction=False) as pipeline:
        pipeline.delete(_WORKER_PREFIX + worker_id)
        pipeline.zrem(_WORKERS_KEY, worker_id)
        pipeline.execute()


def read_workers(queue: JobQueue) -> list[WorkerRecord]:
    """All workers, by name.

    Raises:
        QueueUnavailableError: redis does not answer.
    """
    with unavailable_as_error():
        ids = [id_.decode() for id_ in cast("list[bytes]", queue.redis.zrange(_WORKERS_KEY, 0, -1))]
        with queue.redis.pipeline(transaction=False) as pipeline:
            for id_ in ids:
                pipeline.get(_WORKER_PREFIX + id_)
                pipeline.ttl(_WORKER_PREFIX + id_)
            replies = pipeline.execute()
    records = []
    # redis's own clock tells who is away: those of the machines may differ.
    for text, seconds_left in zip(replies[::2], replies[1::2], strict=True):
        if text is not None:
            record = WorkerRecord(**json.loads(text))
            is_away = seconds_left < REMEMBERED_SECONDS - LEASE_SECONDS
            records.append(replace(record, state="away") if is_away else record)
    here = {(each.hostname, each.pid) for each in records if each.state != "away"}
    # After an outage a process goes on under another id: its former self is not missing.
    return sorted(
        (each for each in records if each.state != "away" or (each.hostname, each.pid) not in here),
        key=lambda each: (each.name, each.hostname, each.pid),
    )


@contextlib.contextmanager
def announced(queue: JobQueue, record: WorkerRecord) -> Iterator[None]:
    """Keeps a record up to date in a thread for as long as the context is open."""

    def announce() -> None:
        with contextlib.suppress(QueueUnavailableError):
            publish_worker(queue, record)

    try:
        with repeating(announce, LEASE_RENEWAL_SECONDS, "announce-worker"):
            yield
    finally:
        with contextlib.suppress(QueueUnavailableError):
            withdraw_worker(queue, record.id)
