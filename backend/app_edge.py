"""The edge of the web process: errors as JSON, one log line per request."""

import logging
import time
from collections.abc import Callable, Coroutine
from typing import Any
from uuid import uuid4

from fastapi import Request
from fastapi.responses import JSONResponse, Response
from starlette.datastructures import MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from backend.errors import BackendError, UnauthorizedError
from backend.log import log_event
from backend.metrics import Metrics

logger = logging.getLogger(__name__)

_CLIENT_CLOSED_REQUEST = 499
# Label Studio asks for /health before whatever it does, Prometheus and the status page ask forever.
_POLLED = ("/health", "/metrics", "/")


class RequestLog:
    """ASGI middleware: gives each request an id, and logs and counts it once, when it is over.

    The line has the route's template and never the path, which may hold the webhook secret.
    Endpoints add to it through `request.state.fields`.
    """

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handles one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        start = time.monotonic()
        status = 500
        state = scope.setdefault("state", {})
        state["request_id"] = uuid4().hex[:16]
        state["fields"] = {}

        async def send_with_id(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = MutableHeaders(scope=message)
                headers["X-Request-ID"] = state["request_id"]
                headers["X-Content-Type-Options"] = "nosniff"
            await send(message)

        try:
            await self._app(scope, receive, send_with_id)
        finally:
            route = getattr(scope.get("route"), "path", "unknown")
            seconds = time.monotonic() - start
            self._metrics.observe_request(route, status, seconds)
            log_event(
                logger,
                logging.DEBUG if route.endswith(_POLLED) else logging.INFO,
                "request",
                method=scope["method"],
                route=route,
                status=status,
                ms=seconds * 1000,
                request_id=state["request_id"],
                **state["fields"],
            )


def _error_response(
    request: Request, status: int, code: str, detail: str, headers: dict[str, str] | None = None
) -> Response:
    request.state.fields["error"] = code
    content = {"error": code, "detail": detail, "request_id": request.state.request_id}
    return JSONResponse(content, status, headers)


async def _backend_error(request: Request, error: Any) -> Response:
    headers = (
        {"WWW-Authenticate": 'Basic realm="self1e"'}
        if isinstance(error, UnauthorizedError)
        else None
    )
    return _error_response(request, error.status, error.code, str(error), headers)


async def _http_error(request: Request, error: Any) -> Response:
    return _error_response(request, error.status_code, "http_error", error.detail, error.headers)


async def _client_gone(request: Request, _error: Any) -> Response:
    return _error_response(request, _CLIENT_CLOSED_REQUEST, "client_gone", "The client left.")


async def _unexpected_error(request: Request, _error: Any) -> Response:
    # The server logs the traceback; the reply only says where to look.
    detail = "Unexpected error; the backend's log has it under this request_id."
    return _error_response(request, 500, "internal_error", detail)


EXCEPTION_HANDLERS: dict[
    int | type[Exception], Callable[[Request, Any], Coroutine[Any, Any, Response]]
] = {
    BackendError: _backend_error,
    HTTPException: _http_error,
    ClientDisconnect: _client_gone,
    Exception: _unexpected_error,
}
