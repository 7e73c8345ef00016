"""Annotators who look at a photo, type prompts about it, and type again what got no answer."""

import itertools
import random
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any

import requests

THINK_SECONDS = (1.0, 4.0)
TYPE_AGAIN_SECONDS = 2.0
PROMPTS_PER_PHOTO = 3
# As long as Label Studio waits for a prediction.
ANSWER_SECONDS = 100.0
# What is still without an answer so long after everything was well again is lost.
PATIENCE_SECONDS = 120.0

_THINGS = ("cat", "person", "hair", "cup", "face", "hand", "camera", "spoon", "coat", "flag")
_FORMS = ("the {}", "the {} on the left", "the {} on the right", "the largest {}", "a {}")


@dataclass
class Prompt:
    """What an annotator typed: when, what came of each try, when the answer came.

    Times are in seconds of the monotonic clock; without an answer it is lost.
    """

    asked_at: float
    errors: list[str] = field(default_factory=list)
    answered_at: float | None = None
    regions: int = 0

    @property
    def wait(self) -> float:
        """Seconds until the answer, further tries included; infinite without one."""
        return float("inf") if self.answered_at is None else self.answered_at - self.asked_at


@dataclass(frozen=True)
class InteractiveProject:
    """What Label Studio puts into each request of a project."""

    key: str
    label_config: str
    tasks: Sequence[Mapping[str, Any]]


class Annotators(AbstractContextManager["Annotators"]):
    """They work as long as the context is open, and then wait for the answers still missing."""

    def __init__(self, backend_url: str, project: InteractiveProject, count: int) -> None:
        self._url = f"{backend_url}/predict"
        self._project = project
        self._stopping = threading.Event()
        self.prompts: list[Prompt] = []
        self._threads = [
            threading.Thread(target=self._annotate, args=(number, count), daemon=True)
            for number in range(count)
        ]

    def __enter__(self) -> "Annotators":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._stopping.set()
        if exc is None:
            deadline = time.monotonic() + PATIENCE_SECONDS + ANSWER_SECONDS
            for thread in self._threads:
                thread.join(max(0.0, deadline - time.monotonic()))

    def _annotate(self, number: int, count: int) -> None:
        chance = random.Random(number)
        texts = [form.format(thing) for form in _FORMS for thing in _THINGS]
        with requests.Session() as session:
            session.trust_env = False
            for task in itertools.cycle(self._project.tasks[number::count]):
                typed: list[str] = []
                for text in chance.sample(texts, PROMPTS_PER_PHOTO):
                    if self._stopping.wait(chance.uniform(*THINK_SECONDS)):
                        return
                    typed.append(text)
                    self._ask(session, task, typed)

    def _ask(
        self, session: requests.Session, task: Mapping[str, Any], typed: Sequence[str]
    ) -> None:
        prompt = Prompt(time.monotonic())
        self.prompts.append(prompt)
        body = self._body(task, typed)
        while True:
            item, error = _answer(session, self._url, body)
            if not error:
                prompt.regions = len({region["id"] for region in item["result"]})
                prompt.answered_at = time.monotonic()
                return
            prompt.errors.append(error)
            if self._stopping.is_set() and prompt.asked_at + PATIENCE_SECONDS < time.monotonic():
                return
            time.sleep(TYPE_AGAIN_SECONDS)

    def _body(self, task: Mapping[str, Any], typed: Sequence[str]) -> dict[str, Any]:
        """As recorded in tests/contract/requests: the box's text grows by an entry each time."""
        box = {
            "value": {"text": list(typed)},
            "id": "t01-gNW1q7",
            "from_name": "prompt",
            "to_name": "image",
            "type": "textarea",
            "origin": "manual",
        }
        return {
            "tasks": [task],
            "project": self._project.key,
            "label_config": self._project.label_config,
            "params": {"login": None, "password": None, "context": {"result": [box]}},
        }


def _answer(session: requests.Session, url: str, body: Mapping[str, Any]) -> tuple[Any, str]:
    """The prediction, or what an annotator would call the reason that nothing appeared."""
    try:
        reply = session.post(url, json=body, timeout=ANSWER_SECONDS)
    except requests.RequestException as error:
        return None, type(error).__name__
    if reply.status_code != requests.codes.ok:
        return None, f"HTTP {reply.status_code} {reply.json()['error']}"
    (item,) = reply.json()["results"]
    return item, "" if item else "no prediction"
