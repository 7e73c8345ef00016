"""Requests for trainings on a real redis."""

import shutil
import tempfile
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import redis

from backend import finetune_requests
from backend.errors import QueueUnavailableError
from backend.finetune_requests import FinetuneRequests
from backend.queue import connect
from backend.redis_server import embedded_redis, redis_url
from backend.settings import Settings

pytestmark = pytest.mark.timeout(120)


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    data_dir = Path(tempfile.mkdtemp(prefix="self1e-"))
    with embedded_redis(data_dir):
        yield redis_url(Settings(data_dir=data_dir))
    shutil.rmtree(data_dir)


@pytest.fixture
def connection(url: str) -> Iterator[redis.Redis]:
    connection = connect(url)
    connection.flushall()
    yield connection
    connection.close()


@pytest.fixture
def requests(connection: redis.Redis, monkeypatch: pytest.MonkeyPatch) -> FinetuneRequests:
    monkeypatch.setattr(finetune_requests, "DEBOUNCE_SECONDS", 0.0)
    # It has just been started, but no trainer of before is about to renew its lease.
    monkeypatch.setattr(finetune_requests, "LEASE_RENEWAL_SECONDS", 0.0)
    return FinetuneRequests(connection)


def test_nothing_is_asked_for_at_first(requests: FinetuneRequests) -> None:
    assert requests.take("a", 0) is None
    assert requests.take("a", 0.1) is None


def test_requests_of_a_project_are_one_however_many_ask_at_once(
    requests: FinetuneRequests, url: str
) -> None:
    def ask(_: int) -> None:
        connection = connect(url)
        FinetuneRequests(connection).request(7)
        connection.close()

    with ThreadPoolExecutor(8) as processes:
        list(processes.map(ask, range(40)))
    assert requests.take("a", 0) == 7
    assert requests.take("b", 0) is None
    requests.done(7, "a")
    assert requests.take("b", 0) is None


def test_projects_are_taken_in_the_order_they_asked(requests: FinetuneRequests) -> None:
    for project in (3, 1, 2, 3):
        requests.request(project)
    taken = []
    for trainer in ("a", "b", "c"):
        taken.append(requests.take(trainer, 0))
    assert taken == [3, 1, 2]


def test_a_request_during_the_training_waits_for_its_end(requests: FinetuneRequests) -> None:
    requests.request(7)
    assert requests.take("a", 0) == 7
    requests.request(7)
    requests.request(7)
    assert requests.take("b", 0) is None
    requests.done(7, "b")  # it never had it
    assert requests.take("b", 0) is None
    requests.done(7, "a")
    assert requests.take("b", 0) == 7
    requests.done(7, "b")
    assert requests.take("b", 0) is None


def test_a_waiting_trainer_is_woken(requests: FinetuneRequests, url: str) -> None:
    taken: list[int | None] = []
    waiting = threading.Thread(target=lambda: taken.append(requests.take("a", 60)))
    waiting.start()
    connection = connect(url)
    FinetuneRequests(connection).request(7)
    connection.close()
    waiting.join(60)
    assert taken == [7]


def test_the_reply_to_a_take_may_be_lost(requests: FinetuneRequests) -> None:
    requests.request(7)
    requests.request(8)
    assert requests.take("a", 0) == 7
    assert requests.take("a", 0) == 7
    requests.done(7, "a")
    assert requests.take("a", 0) == 8


def test_enough_accepted_annotations_ask(requests: FinetuneRequests) -> None:
    requests.accept(7, [1, 2], finetune_after=3)
    requests.accept(7, [2], finetune_after=3)  # saved again
    requests.accept(8, [3], finetune_after=3)
    requests.accept(7, [], finetune_after=3)
    assert requests.take("a", 0) is None
    requests.accept(7, [3, 4], finetune_after=3)
    assert requests.take("a", 0) == 7
    # From then on it is counted anew, also while the training runs.
    requests.accept(7, [5, 6], finetune_after=3)
    requests.done(7, "a")
    assert requests.take("a", 0) is None
    requests.accept(7, [7], finetune_after=3)
    assert requests.take("a", 0) == 7


def test_withdrawn_annotations_do_not_count(requests: FinetuneRequests) -> None:
    requests.accept(7, [1, 2], finetune_after=3)
    requests.withdraw(7, [2, 9])
    requests.withdraw(7, [])
    requests.accept(7, [3], finetune_after=3)
    assert requests.take("a", 0) is None
    requests.accept(7, [2], finetune_after=3)
    assert requests.take("a", 0) == 7


def test_annotations_wait_for_more_of_them_but_not_for_ever(
    requests: FinetuneRequests, connection: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(finetune_requests, "DEBOUNCE_SECONDS", 1000.0)
    requests.accept(7, [1], finetune_after=1)
    (due,) = connection.zrange("self1e:finetune:due", 0, -1, withscores=True)
    requests.accept(7, [2], finetune_after=1)
    assert connection.zrange("self1e:finetune:due", 0, -1, withscores=True) == [due]
    assert requests.take("a", 0) is None
    requests.request(7)
    assert requests.take("a", 0) == 7
    assert requests.take("b", 0) is None


def test_a_killed_trainers_request_is_taken_again_once(requests: FinetuneRequests) -> None:
    requests.request(7)
    requests.renew_lease("a")
    assert requests.take("a", 0) == 7
    assert requests.reap() == ([], [])
    requests.end_lease("a")  # as when it expires
    assert requests.reap() == ([7], [])
    assert requests.reap() == ([], [])
    requests.renew_lease("b")
    assert requests.take("b", 0) == 7
    requests.done(7, "a")  # it was not dead after all, but lost the request
    assert requests.take("c", 0) is None
    requests.end_lease("b")
    assert requests.reap() == ([], [7])
    assert requests.take("c", 0) is None
    # Asked for anew, it has both tries again.
    requests.request(7)
    assert requests.take("d", 0) == 7
    assert requests.reap() == ([7], [])


def test_a_lease_expires(requests: FinetuneRequests, connection: redis.Redis) -> None:
    requests.renew_lease("a")
    left = connection.ttl("self1e:finetune:lease:a")
    assert 0 < left <= finetune_requests.LEASE_SECONDS


def test_trainers_get_the_time_to_renew_their_leases_after_a_restart_of_redis(
    connection: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    requests = FinetuneRequests(connection)
    requests.request(7)
    assert requests.take("a", 0) == 7
    monkeypatch.setattr(finetune_requests, "LEASE_RENEWAL_SECONDS", 3600.0)
    assert requests.reap() == ([], [])


def test_without_redis_every_call_says_so() -> None:
    connection = connect("unix:///nowhere/redis.sock")
    requests = FinetuneRequests(connection)
    with pytest.raises(QueueUnavailableError):
        requests.request(1)
    with pytest.raises(QueueUnavailableError):
        requests.accept(1, [1], finetune_after=1)
    with pytest.raises(QueueUnavailableError):
        requests.withdraw(1, [1])
    with pytest.raises(QueueUnavailableError):
        requests.take("a", 0)
    with pytest.raises(QueueUnavailableError):
        requests.done(1, "a")
    with pytest.raises(QueueUnavailableError):
        requests.reap()
    connection.close()
