"""The pages for people and machines: /, /jobs, /metrics, /trials, /reports."""

import re
from dataclasses import asdict

from fastapi import APIRouter, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import HTMLResponse, JSONResponse, RedirectResponse, Response
from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser

from backend.errors import BadRequestError
from backend.metrics import METRICS_CONTENT_TYPE, Metrics
from backend.queue import JobQueue
from backend.report_policy import policy_of_report
from backend.report_store import ReportStore
from backend.request_body import limited_stream
from backend.served_version import ServedVersion
from backend.settings import Settings
from backend.status import read_status
from backend.status_page import (
    CONTENT_SECURITY_POLICY,
    report_missing_html,
    status_html,
    trial_failed_html,
    trial_html,
    trial_waiting_html,
)
from backend.thumbnails import recent_thumbnails
from backend.trials import find_trial, put_trial

_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}
_JOB_ID = re.compile(r"[0-9a-f]{64}")
_MAX_PROMPT_CHARACTERS = 500
_MAX_PROMPT_BYTES = 4 * _MAX_PROMPT_CHARACTERS
# How long a page waits for its trial before it is sent and asks again by itself.
_TRIAL_WAIT_SECONDS = 5.0
_SHOWN_REPORTS = 10


class StatusRoutes:
    """The endpoints; whoever includes the router guards it."""

    def __init__(
        self, settings: Settings, queue: JobQueue, version: ServedVersion, metrics: Metrics
    ) -> None:
        """Keeps its arguments."""
        self._settings = settings
        self._queue = queue
        self._version = version
        self._metrics = metrics
        self._reports = ReportStore(settings.data_dir)

    def router(self) -> APIRouter:
        """A router of all endpoints."""
        router = APIRouter()
        # Those that ask redis or the disk are plain functions, which FastAPI runs in threads.
        router.add_api_route("/", self.page, methods=["GET"])
        router.add_api_route("/jobs", self.jobs, methods=["GET"])
        router.add_api_route("/metrics", self.prometheus, methods=["GET"])
        router.add_api_route("/trials", self.new_trial, methods=["POST"])
        router.add_api_route("/trials/{job_id}", self.trial, methods=["GET"])
        router.add_api_route("/reports/{run}", self.report, methods=["GET"])
        return router

    def page(self) -> Response:
        """What is going on, for people."""
        status = read_status(self._queue, self._version.name)
        reports = self._reports.recent(_SHOWN_REPORTS)
        return _html(status_html(status, reports, recent_thumbnails(self._queue)))

    def jobs(self) -> Response:
        """What is going on, as JSON."""
        return JSONResponse(asdict(read_status(self._queue, self._version.name)))

    def prometheus(self) -> Response:
        """The metrics."""
        return Response(self._metrics.exposition(), media_type=METRICS_CONTENT_TYPE)

    async def new_trial(self, request: Request) -> Response:
        """Takes an image and a prompt, and sends the browser to the page of the result."""
        if request.headers.get("sec-fetch-site", "same-origin") == "cross-site":
            raise BadRequestError("Another site's page sent this form: use the status page's own.")
        image, prompt = await self._read_form(request)
        job_id = await run_in_threadpool(
            put_trial, self._queue, image, prompt, model_version=self._version.name
        )
        return RedirectResponse(f"trials/{job_id}", status_code=303)

    def trial(self, job_id: str) -> Response:
        """The result of a trial, as soon as it is there."""
        outcome = None
        if _JOB_ID.fullmatch(job_id):
            outcome = find_trial(self._queue, job_id, _TRIAL_WAIT_SECONDS)
        if outcome is None:
            return _html(trial_failed_html("There is no such trial, or no longer."), 404)
        if outcome.status == "failed":
            return _html(trial_failed_html(outcome.reason))
        result = outcome.result
        if result is None:
            return _html(trial_waiting_html())
        return _html(
            trial_html(
                result["prompt"],
                overlay=result["overlay"],
                score=result["score"],
                found=bool(result["result"]),
            )
        )

    def report(self, run: str) -> Response:
        """The report of a fine-tuning."""
        report = self._reports.read(run)
        if report is None:
            return _html(report_missing_html(), 404)
        return _html(report, policy=policy_of_report(report))

    async def _read_form(self, request: Request) -> tuple[bytes, str]:
        """The image file and the prompt of a posted form."""
        body = limited_stream(
            request,
            max_megabytes=self._settings.max_image_mb + 1,
            advice="use a smaller image, or raise SELF1E_MAX_IMAGE_MB.",
        )
        parser = MultiPartParser(
            request.headers, body, max_files=1, max_fields=1, max_part_size=_MAX_PROMPT_BYTES
        )
        try:
            form = await parser.parse()
        except (MultiPartException, KeyError) as error:
            raise BadRequestError("Send the status page's form: an image and a prompt.") from error
        try:
            upload, prompt = form.get("image"), form.get("prompt")
            image = await upload.read() if isinstance(upload, UploadFile) else b""
        finally:
            await form.close()
        prompt = prompt.strip() if isinstance(prompt, str) else ""
        if not image or not prompt:
            raise BadRequestError("An image file and a prompt are needed.")
        if len(prompt) > _MAX_PROMPT_CHARACTERS:
            raise BadRequestError(f"A prompt has at most {_MAX_PROMPT_CHARACTERS} characters.")
        return image, prompt


def _html(content: str, status: int = 200, *, policy: str = CONTENT_SECURITY_POLICY) -> Response:
    return HTMLResponse(content, status, headers=_HEADERS | {"Content-Security-Policy": policy})
