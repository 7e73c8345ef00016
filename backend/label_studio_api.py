"""What a project holds, read through Label Studio's API in small pages."""

import json
import time
from collections.abc import Iterator
from typing import Any

import requests

from backend.errors import LabelStudioError
from backend.label_studio import ApiKey
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


class LabelStudioApi:
    """Reads projects. What fails for a moment is tried again for some seconds."""

    def __init__(self, settings: Settings) -> None:
        """Connects to nothing yet.

        Raises:
            LabelStudioError: LABEL_STUDIO_URL is not set.
        """
        self._url = settings.label_studio_url.rstrip("/")
        if not self._url:
            raise LabelStudioError(
                "LABEL_STUDIO_URL is not set: set it and LABEL_STUDIO_API_KEY to read a project."
            )
        self._api_key = ApiKey(settings)

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
        failure = ""
        renew = False
        for pause in (0.0, *_PAUSES_SECONDS):
            time.sleep(pause)
            authorization = self._api_key.authorization(renew=renew)
            try:
                reply = self._ask(path, authorization, params)
                if reply.status_code == requests.codes.ok:
                    return _json_object(reply, path)
            except requests.RequestException as error:
                failure = f"Label Studio does not answer at {self._url} ({type(error).__name__})."
                continue
            failure = f"Label Studio answered {reply.status_code} for {path}"
            # The access token may have been revoked, or have expired by the server's clock.
            if reply.status_code == requests.codes.unauthorized and not renew:
                renew = authorization.startswith("Bearer ")
                if renew:
                    continue
            if reply.status_code < 500 and reply.status_code != requests.codes.too_many_requests:
                hint = _HINTS.get(reply.status_code, "is LABEL_STUDIO_URL its address?")
                raise LabelStudioError(f"{failure}: {hint}.")
            failure += ", again and again: see its log."
        raise LabelStudioError(failure)

    def _ask(
        self, path: str, authorization: str, params: dict[str, str | int]
    ) -> requests.Response:
        with requests.Session() as session:
            session.trust_env = False  # as the backend fetches its images
            return session.get(
                self._url + path,
                params=params,
                headers={"Authorization": authorization},
                timeout=(_CONNECT_SECONDS, _READ_SECONDS),
                allow_redirects=False,  # the key is for this server only
            )


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
