"""The web process: Label Studio's ML backend protocol over HTTP.

Never imports torch. /health and /setup answer from memory, since Label Studio calls them before
every prediction and gives up after one and three seconds.
"""

import base64
import binascii
import contextlib
import json
import logging
import re
import secrets
from collections.abc import AsyncIterator
from typing import TypeVar

from fastapi import APIRouter, Depends, FastAPI, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import JSONResponse, Response
from pydantic import ValidationError
from starlette.background import BackgroundTask
from starlette.requests import ClientDisconnect

from backend.app_edge import EXCEPTION_HANDLERS, RequestLog
from backend.deliveries import can_deliver
from backend.errors import BadRequestError, UnauthorizedError, VersionError
from backend.finetune_events import note_event
from backend.finetune_requests import FinetuneRequests
from backend.label_config import is_blank_config, parse_label_config
from backend.log import log_event
from backend.metrics import Metrics
from backend.predict_request import Predictions, make_predictions
from backend.queue import JobQueue
from backend.request_body import read_body, without_masks
from backend.schemas import (
    PredictRequest,
    SetupReply,
    SetupRequest,
    VersionsReply,
    WebhookRequest,
)
from backend.schemas import Request as Schema
from backend.served_version import ServedVersion
from backend.settings import Settings
from backend.status_routes import StatusRoutes
from backend.version_store import VersionStore
from backend.versions import model_version

logger = logging.getLogger(__name__)

_SchemaT = TypeVar("_SchemaT", bound=Schema)


def create_app(settings: Settings, queue: JobQueue) -> FastAPI:
    """Builds the web application.

    Args:
        settings: of this process.
        queue: where predictions are asked for; it need not be reachable yet.

    Raises:
        ValueError: the webhook secret cannot be a part of a URL's path.
    """
    version = ServedVersion(_expected_version(settings))
    metrics = Metrics(queue)
    backend = _Backend(settings, queue, version)
    status = StatusRoutes(settings, queue, version, metrics)

    @contextlib.asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        with version.follow(queue):
            yield

    app = FastAPI(
        lifespan=lifespan,
        openapi_url=None,
        exception_handlers=EXCEPTION_HANDLERS,
        redirect_slashes=False,  # /webhook is not a page under the secret "webhook"
    )
    app.add_middleware(RequestLog, metrics=metrics)
    guarded = [_protocol(backend), _status(backend, status)]
    for router in guarded:
        app.include_router(router)
    secret = settings.webhook_secret.get_secret_value()
    if not secret:
        app.include_router(_webhook(backend))
        return app
    if not re.fullmatch(r"[\w.~-]+", secret, re.ASCII):
        raise ValueError(
            "SELF1E_WEBHOOK_SECRET becomes a part of a URL's path: use letters, digits, -._~ only."
        )
    # As a path parameter the secret is in no route's name, and is compared in constant time.
    for router in (*guarded, _webhook(backend)):
        app.include_router(router, prefix="/{secret}", dependencies=[Depends(backend.check_secret)])
    return app


def _protocol(backend: "_Backend") -> APIRouter:
    router = APIRouter()
    guard = [Depends(backend.check_basic_auth)]
    router.add_api_route("/health", backend.health, methods=["GET"])
    router.add_api_route("/setup", backend.setup, methods=["POST"], dependencies=guard)
    router.add_api_route("/predict", backend.predict, methods=["POST"], dependencies=guard)
    router.add_api_route("/versions", backend.versions, methods=["GET"], dependencies=guard)
    return router


def _status(backend: "_Backend", status: StatusRoutes) -> APIRouter:
    router = APIRouter(dependencies=[Depends(backend.check_basic_auth)])
    router.include_router(status.router())
    return router


def _webhook(backend: "_Backend") -> APIRouter:
    """Label Studio sends webhooks without basic auth."""
    router = APIRouter()
    router.add_api_route("/webhook", backend.webhook, methods=["POST"])
    return router


class _Backend:
    """The endpoints."""

    def __init__(self, settings: Settings, queue: JobQueue, version: ServedVersion) -> None:
        self._settings = settings
        self._queue = queue
        self._version = version
        self._finetune_requests = FinetuneRequests(queue.redis)

    async def health(self) -> Response:
        """Says that the web process lives, and whether a worker is ready."""
        return JSONResponse(
            {
                "status": "UP",
                "model_version": self._version.name,
                "worker": "ready" if self._version.is_ready else "loading or away",
            }
        )

    async def setup(self, request: Request) -> Response:
        """Names the model version; refuses a labeling config that cannot take masks.

        The refusal is the one place where Label Studio shows its user what we say. A project whose
        labeling is not set up yet (nothing but Views) may connect.
        """
        config = _parse(SetupRequest, await self._read(request)).label_config
        if not is_blank_config(config):
            parse_label_config(config)
        return JSONResponse(SetupReply(model_version=self._version.name).model_dump())

    async def predict(self, request: Request) -> Response:
        """Has the tasks segmented; the work is done by threads, the event loop stays free."""
        body = await self._read(request)
        predictions = await run_in_threadpool(self._predict, request, body)
        if await request.is_disconnected():
            raise ClientDisconnect  # an answer would be lost: workers deliver it
        return await run_in_threadpool(self._answer_predict, request, predictions)

    async def versions(self) -> Response:
        """Lists the model versions to choose from."""
        return JSONResponse(VersionsReply(versions=[self._version.name]).model_dump())

    async def webhook(self, request: Request) -> Response:
        """Acknowledges an event; Label Studio waits one second for that and never repeats it."""
        event = _parse(WebhookRequest, without_masks(await self._read(request)))
        request.state.fields["action"] = event.action
        # After the reply, since redis may keep it waiting.
        noting = BackgroundTask(
            note_event,
            event,
            self._finetune_requests,
            finetune_after=self._settings.finetune_after,
        )
        return JSONResponse({"status": "ok"}, background=noting)

    async def check_basic_auth(self, request: Request) -> None:
        """Raises UnauthorizedError unless the configured user name and password are sent."""
        if not self._settings.basic_auth_user:
            return
        password = self._settings.basic_auth_pass.get_secret_value()
        expected = f"{self._settings.basic_auth_user}:{password}".encode()
        if not secrets.compare_digest(_sent_credentials(request), expected):
            raise UnauthorizedError(
                "Give Label Studio the backend's BASIC_AUTH_USER and BASIC_AUTH_PASS: "
                'in the model\'s settings choose "Basic Authentication".'
            )

    async def check_secret(self, request: Request) -> None:
        """Raises UnauthorizedError unless the path starts with the webhook secret."""
        sent = request.path_params["secret"].encode()
        if not secrets.compare_digest(
            sent, self._settings.webhook_secret.get_secret_value().encode()
        ):
            raise UnauthorizedError("The URL does not start with SELF1E_WEBHOOK_SECRET.")

    async def _read(self, request: Request) -> bytes:
        return await read_body(request, max_megabytes=self._settings.max_request_mb)

    def _predict(self, request: Request, body: bytes) -> Predictions:
        parsed = _parse(PredictRequest, without_masks(body))
        version = self._version.name
        request.state.fields.update(
            tasks=len(parsed.tasks),
            interactive=parsed.params.context is not None,
            version=version,
        )
        return make_predictions(
            parsed,
            self._queue,
            model_version=version,
            timeout=self._settings.predict_timeout,
            separate_in_batch=self._settings.batch_regions == "instance",
            deliver=can_deliver(self._settings),
        )

    def _answer_predict(self, request: Request, predictions: Predictions) -> Response:
        answer = predictions.answer()
        request.state.fields.update(answer.counts)
        # Item by item, so that other threads get their turn in between.
        items = [json.dumps(item, allow_nan=False, separators=(",", ":")) for item in answer.items]
        return Response(
            f'{{"results":[{",".join(items)}]}}',
            media_type="application/json",
            background=BackgroundTask(predictions.confirm),
        )


def _expected_version(settings: Settings) -> str:
    """What workers will serve, as far as can be told here."""
    base = model_version(settings.model)
    try:
        return VersionStore(settings.data_dir, base).current()
    except VersionError as error:
        log_event(logger, logging.WARNING, "versions not readable", detail=error)
        return base


def _parse(schema: type[_SchemaT], body: bytes) -> _SchemaT:
    """Raises BadRequestError if the body does not follow the schema."""
    try:
        return schema.model_validate_json(body)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        where = ".".join(map(str, first["loc"])) or "body"
        log_event(logger, logging.WARNING, "bad request", field=where)
        raise BadRequestError(f"{where}: {first['msg']}") from None


def _sent_credentials(request: Request) -> bytes:
    scheme, _, encoded = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "basic":
        return b""
    try:
        return base64.b64decode(encoded, validate=True)
    except (binascii.Error, ValueError):
        return b""
