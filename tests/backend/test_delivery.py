"""Posting predictions from a real redis to a server that answers as Label Studio does.

A real Label Studio gets them in tests/integration/test_deliveries.py.
"""

import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from pydantic import SecretStr

from backend.deliveries import pending_deliveries
from backend.delivery import delivering
from backend.queue import JobQueue
from backend.settings import Settings
from tests.backend.test_deliveries import DELIVERY, asked, perform, queue, url
from tests.backend.test_label_studio_files import LEGACY_KEY, jwt
from tests.web_server import Reply, Request, web_server

pytestmark = [
    pytest.mark.timeout(120),
    # The SDK's exchange of a personal access token uses it.
    pytest.mark.filterwarnings("ignore:The `parse_obj` method is deprecated"),
]

__all__ = ["queue", "url"]  # fixtures

PERSONAL_KEY = jwt("refresh", 3600)
PREDICTION = {"result": [], "score": 0.5, "model_version": "v1"}


@dataclass
class LabelStudio:
    """One project with one task; `failures` are answered first."""

    created_at: str = "2026-11-22T10:54:55.367781Z"  # 1795344895
    failures: list[int] = field(default_factory=list)
    access_tokens: list[str] = field(default_factory=list)
    predictions: list[dict[str, Any]] = field(default_factory=list)
    posts: int = 0

    def answer(self, request: Request) -> Reply:
        target = urlsplit(request.target)
        if target.path == "/api/token/refresh/":
            self.access_tokens.append(jwt("access", 300, len(self.access_tokens)))
            return reply({"access": self.access_tokens[-1]})
        # The first access token is revoked at once.
        good = {f"Token {LEGACY_KEY}", *(f"Bearer {token}" for token in self.access_tokens[1:])}
        if request.headers["Authorization"] not in good:
            return Reply(401)
        if self.failures:
            return reply({"detail": "It failed."}, self.failures.pop(0))
        if target.path == "/api/projects/4/":
            return reply({"id": 4, "created_at": self.created_at})
        assert target.path == "/api/predictions/"
        if request.method == "POST":
            self.posts += 1
            self.predictions.append(json.loads(request.body))
            return reply(self.predictions[-1], 201)
        assert parse_qs(target.query) == {"task": ["7"]}
        return reply(self.predictions)


def reply(content: Any, status: int = 200) -> Reply:
    return Reply(status, {"Content-Type": "application/json"}, json.dumps(content).encode())


@pytest.fixture
def label_studio() -> LabelStudio:
    return LabelStudio()


Deliver = Callable[..., None]


@pytest.fixture
def deliver(queue: JobQueue, label_studio: LabelStudio) -> Iterator[Deliver]:
    """Delivers the one prediction there is, with a key."""
    with web_server(label_studio.answer) as server:

        def deliver(key: str = LEGACY_KEY) -> None:
            settings = Settings(label_studio_url=server.url, label_studio_api_key=SecretStr(key))
            pause = threading.Event()
            with delivering(queue, settings):
                while pending_deliveries(queue):
                    pause.wait(0.05)

        yield deliver


def unfinished(queue: JobQueue) -> None:
    request = asked(queue)
    perform(queue, result=PREDICTION)
    request.hand_over({DELIVERY: "unfinished"})


@pytest.mark.parametrize("key", [LEGACY_KEY, PERSONAL_KEY])
def test_a_prediction_is_posted_as_it_is(
    queue: JobQueue, deliver: Deliver, label_studio: LabelStudio, key: str
) -> None:
    unfinished(queue)
    deliver(key)
    assert label_studio.predictions == [{"task": 7, **PREDICTION}]


def test_one_that_is_there_is_not_posted_again(
    queue: JobQueue, deliver: Deliver, label_studio: LabelStudio
) -> None:
    label_studio.predictions = [{"model_version": "v0"}, {"model_version": "v1"}]
    unfinished(queue)
    deliver()
    assert label_studio.posts == 0
    label_studio.predictions.pop()
    queue.redis.flushall()
    unfinished(queue)
    deliver()
    assert label_studio.posts == 1


@pytest.mark.parametrize("status", [401, 403, 429, 500, 503, 302])
def test_what_may_pass_is_tried_again(
    queue: JobQueue, deliver: Deliver, label_studio: LabelStudio, status: int
) -> None:
    label_studio.failures = [status, status] if status == 401 else [status]
    unfinished(queue)
    deliver()
    assert label_studio.posts == 1


@pytest.mark.parametrize("status", [400, 404])
def test_a_task_that_is_gone_gets_nothing(
    queue: JobQueue,
    deliver: Deliver,
    label_studio: LabelStudio,
    status: int,
    caplog: pytest.LogCaptureFixture,
) -> None:
    label_studio.failures = [status]
    unfinished(queue)
    deliver()
    assert label_studio.posts == 0
    assert "prediction refused" in caplog.messages


def test_another_label_studio_gets_nothing(
    queue: JobQueue, deliver: Deliver, label_studio: LabelStudio
) -> None:
    label_studio.created_at = "2026-11-22T10:54:56.000000Z"
    unfinished(queue)
    deliver()
    assert label_studio.posts == 0


def test_a_failed_job_is_given_up(
    queue: JobQueue, deliver: Deliver, caplog: pytest.LogCaptureFixture
) -> None:
    request = asked(queue)
    request.hand_over({DELIVERY: "unfinished"})
    perform(queue, fails=True)
    deliver()
    assert "prediction given up" in caplog.messages


def test_without_a_key_nothing_is_delivered(
    queue: JobQueue, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    with delivering(queue, Settings(label_studio_url="http://label-studio.test")):
        assert not any(thread.name == "delivery" for thread in threading.enumerate())
    assert "LABEL_STUDIO_API_KEY" in caplog.text
