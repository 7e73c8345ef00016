"""What a project holds, read through Label Studio's API in small pages."""

import json
import time
from collections.abc import Iterator
from typing import Any

import requests

from backend.errors import LabelStudioError
from backend.label_studio_http import LabelStudioHttp, NoAnswerError
from backend.settings import Settings

_CONNECT_SECONDS = 10.0
_READ_SECONDS = 120.0  # a page holds some tasks with all their masks
_TASKS_PER_PAGE = 10
_PAUSES_SECONDS = (1.0, 3.0, 9.0)
_HINTS = {
    401: "it refuses the API key; set LABEL_STUDIO_API_KEY to a personal access token, or to a "
    "legacy token if the organization's settings allow those",
    403: "the API key's user may not see it; add that user to the project",
    404: "there is no such project, or the API key's user may not see it",
}


class ProjectsApi:
    """Reads projects. What fails for a moment is tried again for some seconds."""

    def __init__(self, settings: Settings) -> None:
        """Connects to nothing yet.

        Raises:
            LabelStudioError: LABEL_STUDIO_URL is not set.
        """
        self._http = LabelStudioHttp(settings, (_CONNECT_SECONDS, _READ_SECONDS))

    def label_config(self, project_id: int) -> str:
        """The project's labeling config.

        Raises:
            LabelStudioError: Label Studio is not reachable, or refuses.
        """
        config = self._get(f"/api/projects/{project_id}").get("label_config")
        if not isinstance(config, str):
            raise LabelStudioError(f"Project {project_id} has no labeling config.")
        return config

    def annotated_tasks(self, project_id: int) -> Iterator[dict[str, Any]]:
        """The project's tasks that have annotations, with those and with their predictions.

        Tasks that have cancelled annotations only come last.

        Raises:
            LabelStudioError: Label Studio is not reachable, or refuses.
        """
        submitted = _filter("total_annotations", "greater", 0)
        yield from self._tasks(project_id, [submitted])
        skipped = _filter("cancelled_annotations", "greater", 0)
        yield from self._tasks(project_id, [_filter("total_annotations", "equal", 0), skipped])

    def _tasks(self, project_id: int, filters: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
        """Pages start after the last task that was read: annotators may go on meanwhile."""
        last_id = 0
        while True:
            items = [*filters, _filter("id", "greater", last_id)]
            query = {"filters": {"conjunction": "and", "items": items}, "ordering": ["tasks:id"]}
            page = self._get(
                "/api/tasks",
                project=project_id,
                fields="all",
                # Urls as the tasks have them, not resolved for this one reader.
                resolve_uri="false",
                page_size=_TASKS_PER_PAGE,
                query=json.dumps(query),
            )
            tasks = page.get("tasks")
            if not isinstance(tasks, list):
                raise LabelStudioError("/api/tasks did not answer with tasks: is it Label Studio?")
            yield from tasks
            if len(tasks) < _TASKS_PER_PAGE:
                return
            last_id = max(int(task["id"]) for task in tasks)

    def _get(self, path: str, **params: str | int) -> dict[str, Any]:
        """The JSON object at a path."""
        pauses = iter(_PAUSES_SECONDS)
        while True:
            failure: LabelStudioError
            try:
                reply = self._http.request("GET", path, params=params)
            except NoAnswerError as error:
                failure = error
            else:
                if reply.status_code == requests.codes.ok:
                    return _json_object(reply, path)
                said = f"Label Studio answered {reply.status_code} for {path}"
                busy = reply.status_code == requests.codes.too_many_requests
                if reply.status_code < 500 and not busy:
                    hint = _HINTS.get(reply.status_code, "is LABEL_STUDIO_URL its address?")
                    raise LabelStudioError(f"{said}: {hint}.")
                failure = LabelStudioError(f"{said}, again and again: see its log.")
            pause = next(pauses, None)
            if pause is None:
                raise failure
            time.sleep(pause)


def _filter(column: str, operator: str, number: int) -> dict[str, Any]:
    """A filter of the Data Manager."""
    return {
        "filter": f"filter:tasks:{column}",
        "operator": operator,
        "type": "Number",
        "value": number,
    }


def _json_object(reply: requests.Response, path: str) -> dict[str, Any]:
    try:
        body = reply.json()
    except ValueError:
        body = None
    if not isinstance(body, dict):
        raise LabelStudioError(f"{path} did not answer with JSON: is LABEL_STUDIO_URL its address?")
    return body
