"""The prompts of a project's annotators, on a real redis."""

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from backend.errors import QueueUnavailableError
from backend.queue import JobQueue
from backend.redis_server import embedded_redis, redis_url
from backend.settings import Settings
from backend.sticky_prompts import last_prompts, remember_prompts


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    data_dir = Path(tempfile.mkdtemp(prefix="self1e-"))
    with embedded_redis(data_dir):
        yield redis_url(Settings(data_dir=data_dir))
    shutil.rmtree(data_dir)


@pytest.fixture
def queues(url: str) -> Iterator[tuple[JobQueue, JobQueue]]:
    """As two web processes have them."""
    queues = (
        JobQueue(url, job_timeout=20, result_ttl=100),
        JobQueue(url, job_timeout=20, result_ttl=100),
    )
    queues[0].redis.flushall()
    yield queues
    for queue in queues:
        queue.close()


def test_every_process_knows_what_was_asked_last(queues: tuple[JobQueue, JobQueue]) -> None:
    here, there = queues
    assert last_prompts(there, "4.1") == ""
    remember_prompts(here, "4.1", "the dog; die rote Tür")
    remember_prompts(here, "5.1", "the cat")
    assert last_prompts(there, "4.1") == "the dog; die rote Tür"
    remember_prompts(there, "4.1", "the bird")
    assert last_prompts(here, "4.1") == "the bird"
    assert last_prompts(here, "5.1") == "the cat"


def test_without_redis_nothing_is_remembered_and_nothing_raised(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    queue = JobQueue(f"unix://{tmp_path}/none", job_timeout=1, result_ttl=1)
    remember_prompts(queue, "4.1", "the dog")
    assert "last prompts not kept" in caplog.messages
    with pytest.raises(QueueUnavailableError, match="REDIS_URL"):
        last_prompts(queue, "4.1")
