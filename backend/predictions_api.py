"""Label Studio's API for predictions: which a task has, and a new one."""

from datetime import datetime
from http import HTTPStatus
from typing import Any

from backend.errors import LabelStudioError
from backend.label_studio_http import LabelStudioHttp
from backend.settings import Settings

_PREDICTIONS = "/api/predictions/"
_TIMEOUT_SECONDS = 30.0
_DETAIL_CHARACTERS = 300
# Of the statuses that blame the request, these may pass: key, rights, time-out and rate.
_MAY_PASS = (
    HTTPStatus.UNAUTHORIZED,
    HTTPStatus.FORBIDDEN,
    HTTPStatus.REQUEST_TIMEOUT,
    HTTPStatus.TOO_MANY_REQUESTS,
)


class PredictionRefusedError(LabelStudioError):
    """Label Studio will never take this prediction; its task may have been deleted."""


class PredictionsApi:
    """What the backend asks of Label Studio on its own account. Not for threads.

    All methods raise LabelStudioError if Label Studio cannot be reached or refuses for now, and
    PredictionRefusedError if it refuses for good.
    """

    def __init__(self, settings: Settings) -> None:
        """Connects to nothing yet.

        Raises:
            LabelStudioError: LABEL_STUDIO_URL is not set.
        """
        self._http = LabelStudioHttp(settings, _TIMEOUT_SECONDS)
        self._projects: set[str] = set()

    def check_project(self, project: str) -> None:
        """Makes sure that a project is this Label Studio's own: task ids say nothing of that.

        Args:
            project: the name that Label Studio's requests give it, "<id>.<time of creation>".

        Raises:
            PredictionRefusedError: the project is gone, or another Label Studio's.
        """
        if project in self._projects:
            return
        project_id, _, created = project.partition(".")
        path = f"/api/projects/{project_id}/"
        found = self._call("GET", path)
        try:
            # Python 3.10 knows no Z.
            created_at = datetime.fromisoformat(str(found["created_at"]).replace("Z", "+00:00"))
        except (KeyError, TypeError, ValueError) as error:
            raise self._unexpected(path) from error
        if int(created_at.timestamp()) != int(created):
            raise PredictionRefusedError(
                f"Project {project_id} is not the one that asked: a backend that several Label "
                "Studios share can post to that of LABEL_STUDIO_URL only."
            )
        self._projects.add(project)

    def has_prediction(self, task: int, model_version: str) -> bool:
        """Whether a task has a prediction of this version."""
        found = self._call("GET", _PREDICTIONS, params={"task": task})
        try:
            return any(prediction["model_version"] == model_version for prediction in found)
        except (KeyError, TypeError) as error:
            raise self._unexpected(_PREDICTIONS) from error

    def post_prediction(self, task: int, prediction: dict[str, Any]) -> None:
        """Stores a prediction: its `result`, `score` and `model_version`."""
        self._call("POST", _PREDICTIONS, json={"task": task, **prediction})

    def _call(self, method: str, path: str, **arguments: Any) -> Any:
        reply = self._http.request(method, path, **arguments)
        status = reply.status_code
        if HTTPStatus.BAD_REQUEST <= status < 500 and status not in _MAY_PASS:
            raise PredictionRefusedError(
                f"{method} {path}: {status} {reply.text[:_DETAIL_CHARACTERS]}"
            )
        if status not in (HTTPStatus.OK, HTTPStatus.CREATED):
            raise LabelStudioError(
                f"Label Studio answered {status} for {method} {path}: is LABEL_STUDIO_URL right, "
                "and may LABEL_STUDIO_API_KEY's user change the project?"
            )
        try:
            return reply.json()
        except ValueError as error:
            raise self._unexpected(path) from error

    def _unexpected(self, path: str) -> LabelStudioError:
        return LabelStudioError(
            f"{self._http.url}{path} does not answer as Label Studio does: check LABEL_STUDIO_URL."
        )
