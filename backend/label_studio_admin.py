"""Setting up a project in one's own Label Studio over its HTTP API, for the demo and the tests."""

from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import requests

from backend.errors import LabelStudioError

_TIMEOUT_SECONDS = 60.0


class LabelStudioAdmin:
    """What an administrator does in Label Studio's pages; every call raises LabelStudioError."""

    def __init__(self, url: str, api_key: str) -> None:
        """Args: url: the server's base URL; api_key: a legacy token of an administrator."""
        self._url = url
        self._session = requests.Session()
        self._session.trust_env = False  # no proxy for a server on this machine
        self._session.headers["Authorization"] = f"Token {api_key}"

    def find_project(self, title: str) -> int | None:
        """Id of the oldest project of that title, None if there is none."""
        projects = self._call("GET", "/api/projects", params={"search": title, "page_size": 1000})
        ids = [project["id"] for project in projects["results"] if project["title"] == title]
        return min(ids, default=None)

    def create_project(
        self, title: str, label_config: str, *, predict_on_open: bool = False
    ) -> int:
        """Creates a project and gives its id.

        Args:
            title: at least 3 characters.
            label_config: the labeling config's XML.
            predict_on_open: whether opening a task without predictions asks the backend for all
                labels at once, and starts the annotation with the answer.
        """
        body = {
            "title": title,
            "label_config": label_config,
            "show_collab_predictions": predict_on_open,
        }
        return int(self._call("POST", "/api/projects", json=body)["id"])

    def upload_images(self, project: int, files: Sequence[Path]) -> None:
        """Uploads image files; each becomes one task."""
        with ExitStack() as stack:
            parts = [
                (str(index), (file.name, stack.enter_context(file.open("rb")), "image/jpeg"))
                for index, file in enumerate(files)
            ]
            self._call("POST", f"/api/projects/{project}/import", files=parts)

    def connect_backend(
        self,
        project: int,
        url: str,
        title: str = "SELF1E",
        *,
        basic_auth: tuple[str, str] | None = None,
    ) -> None:
        """Makes the backend at `url` the project's only one, interactive; keeps it if it is.

        Args:
            project: the project's id.
            url: of the backend.
            title: what Label Studio calls it.
            basic_auth: user name and password that it wants.
        """
        connected = self._call("GET", "/api/ml", params={"project": project})
        for backend in connected:
            if backend["url"] != url:
                self._call("DELETE", f"/api/ml/{backend['id']}")
        if not any(backend["url"] == url for backend in connected):
            body = {"project": project, "url": url, "title": title, "is_interactive": True}
            if basic_auth is not None:
                user, password = basic_auth
                body |= {
                    "auth_method": "BASIC_AUTH",
                    "basic_auth_user": user,
                    "basic_auth_pass": password,
                }
            self._call("POST", "/api/ml", json=body)

    def tasks(self, project: int) -> list[dict[str, Any]]:
        """The project's tasks with their annotations and predictions, in order of creation."""
        tasks = self._call(
            "GET",
            "/api/tasks",
            params={"project": project, "fields": "all", "page_size": 1000},
        )["tasks"]
        return sorted(tasks, key=lambda task: int(task["id"]))

    def annotate(self, task: int, results: Sequence[dict[str, Any]], lead_time: float) -> None:
        """Saves an annotation.

        Args:
            task: the task's id.
            results: its regions and texts, in Label Studio's format.
            lead_time: how long it took, in seconds.
        """
        body = {"result": list(results), "lead_time": lead_time}
        self._call("POST", f"/api/tasks/{task}/annotations/", json=body)

    def delete_annotation(self, annotation: int) -> None:
        """Deletes an annotation; its task is as if nobody had worked on it."""
        self._call("DELETE", f"/api/annotations/{annotation}/")

    def _call(self, method: str, path: str, **arguments: Any) -> Any:
        try:
            response = self._session.request(
                method, self._url + path, timeout=_TIMEOUT_SECONDS, **arguments
            )
        except requests.RequestException as error:
            raise LabelStudioError(f"{method} {path}: Label Studio did not answer.") from error
        if not response.ok:
            detail = response.text[:500]
            raise LabelStudioError(f"{method} {path}: {response.status_code} {detail}")
        return response.json() if response.content else None
