"""Batches of a real Label Studio: projects of photos, Retrieve predictions, and what arrived."""

import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import requests

from backend.demo_project import LABEL_CONFIG
from backend.label_studio_admin import LabelStudioAdmin
from tests.load.annotators import InteractiveProject

_UPLOAD_AT_ONCE = 50
_CALL_SECONDS = 60.0
# Label Studio waits 100 s for the backend and then stores what it got.
_RETRIEVE_SECONDS = 300.0


class LabelStudioProjects:
    """Makes projects that are connected to the backend, and asks for their predictions."""

    def __init__(self, url: str, api_key: str, backend_url: str) -> None:
        self._url = url
        self._admin = LabelStudioAdmin(url, api_key)
        self._headers = {"Authorization": f"Token {api_key}"}
        self._backend_url = backend_url

    def create(self, title: str, photos: Sequence[Path]) -> int:
        """A project with a task per photo; gives its id."""
        project = self._admin.create_project(title, LABEL_CONFIG)
        self._admin.connect_backend(project, self._backend_url)
        for start in range(0, len(photos), _UPLOAD_AT_ONCE):
            self._admin.upload_images(project, photos[start : start + _UPLOAD_AT_ONCE])
        return project

    def interactive(self, project: int) -> InteractiveProject:
        """What an annotator's requests of this project hold."""
        about = self._call("GET", f"/api/projects/{project}/", _CALL_SECONDS)
        created = datetime.fromisoformat(about["created_at"].replace("Z", "+00:00"))
        key = f"{project}.{int(created.timestamp())}"
        return InteractiveProject(key, LABEL_CONFIG, self.tasks(project))

    def retrieve(self, project: int) -> None:
        """What "Retrieve predictions" does with all tasks."""
        self._call(
            "POST",
            f"/api/dm/actions?id=retrieve_tasks_predictions&project={project}",
            _RETRIEVE_SECONDS,
            json={"selectedItems": {"all": True, "excluded": []}},
        )

    def predictions(self, project: int) -> int:
        """How many predictions the project's tasks have in all."""
        about = self._call("GET", f"/api/projects/{project}/", _CALL_SECONDS)
        return int(about["total_predictions_number"])

    def tasks(self, project: int) -> list[dict[str, Any]]:
        return self._admin.tasks(project)

    def _call(self, method: str, path: str, seconds: float, **arguments: Any) -> Any:
        with requests.Session() as session:
            session.trust_env = False
            url = self._url + path
            reply = session.request(
                method, url, headers=self._headers, timeout=seconds, **arguments
            )
        reply.raise_for_status()
        return reply.json() if reply.content else None


@dataclass(frozen=True)
class BatchResult:
    """What Label Studio has of a batch at the end.

    `stored_after` is when each prediction was stored, in seconds after the request, in order.
    """

    tasks: int
    lost: int
    doubled: int
    stored_after: Sequence[float]
    asked: int
    requests_failed: int


class Batch:
    """A project whose predictions are retrieved while annotators work."""

    def __init__(self, projects: LabelStudioProjects, title: str, photos: Sequence[Path]) -> None:
        self._projects = projects
        self._project = projects.create(title, photos)
        self._size = len(photos)
        self._retrieving: list[threading.Thread] = []
        self._begun = 0.0
        self._failed = 0

    def retrieve(self) -> None:
        """Asks for all predictions, in a thread: Label Studio answers in a minute or two."""
        self._begun = self._begun or time.time()
        thread = threading.Thread(target=self._retrieve, daemon=True)
        thread.start()
        self._retrieving.append(thread)

    @property
    def is_being_asked_for(self) -> bool:
        return any(thread.is_alive() for thread in self._retrieving)

    def is_complete(self) -> bool:
        return self._projects.predictions(self._project) >= self._size

    def result(self) -> BatchResult:
        """Reads all predictions back."""
        counts = []
        stored = []
        for task in self._projects.tasks(self._project):
            counts.append(len(task["predictions"]))
            stored += [_timestamp(each["created_at"]) for each in task["predictions"]]
        return BatchResult(
            tasks=self._size,
            lost=counts.count(0),
            doubled=sum(count > 1 for count in counts),
            stored_after=sorted(each - self._begun for each in stored),
            asked=len(self._retrieving),
            requests_failed=self._failed,
        )

    def _retrieve(self) -> None:
        try:
            self._projects.retrieve(self._project)
        except requests.RequestException:
            # Label Studio was taken away meanwhile; what it asked for goes on.
            self._failed += 1


def _timestamp(text: str) -> float:
    return datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp()
