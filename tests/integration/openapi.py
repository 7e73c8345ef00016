"""The OpenAPI document of the web process: its own routes, with the schemas it parses bodies by.

The app publishes none. Its handlers read bodies themselves, so what they take and give is said
here; a route that is not described is an error.
"""

from typing import Any

from fastapi import FastAPI

from backend.schemas import (
    PredictRequest,
    SetupReply,
    SetupRequest,
    VersionsReply,
    WebhookRequest,
)

_TEXT = {"type": "string"}
_ERROR = {
    "type": "object",
    "required": ["error", "detail", "request_id"],
    "properties": {"error": _TEXT, "detail": _TEXT, "request_id": _TEXT},
    "additionalProperties": False,
}
_PREDICTION = {
    "type": "object",
    "required": ["result", "score", "model_version"],
    "properties": {
        "result": {"type": "array", "items": {"type": "object"}},
        "score": {"type": "number", "minimum": 0, "maximum": 1},
        "model_version": _TEXT,
    },
}
_PREDICTIONS = {
    "type": "object",
    "required": ["results"],
    "properties": {
        "results": {
            "type": "array",
            "items": {"anyOf": [_PREDICTION, {"type": "array", "maxItems": 0}]},
        }
    },
}
_FORM = {
    "type": "object",
    "required": ["image", "prompt"],
    "properties": {"image": {"type": "string", "format": "binary"}, "prompt": _TEXT},
}
_HTML = {"text/html": {"schema": _TEXT}}


def _json(schema: Any) -> dict[str, Any]:
    return {"application/json": {"schema": schema}}


def _object(*required: str) -> dict[str, Any]:
    return _json({"type": "object", "required": list(required)})


# By path: what it takes, what it gives when all is well, and the other statuses.
_OPERATIONS: dict[str, tuple[dict[str, Any] | None, dict[int, Any], set[int]]] = {
    "/health": (None, {200: _object("status", "model_version", "worker")}, set()),
    "/setup": (
        _json(SetupRequest.model_json_schema()),
        {200: _json(SetupReply.model_json_schema())},
        {400},
    ),
    "/predict": (
        _json(PredictRequest.model_json_schema(ref_template="#/components/schemas/{model}")),
        {200: _json(_PREDICTIONS)},
        {400},
    ),
    "/versions": (None, {200: _json(VersionsReply.model_json_schema())}, set()),
    "/webhook": (
        _json(WebhookRequest.model_json_schema(ref_template="#/components/schemas/{model}")),
        {200: _object("status")},
        {400},
    ),
    "/": (None, {200: _HTML}, set()),
    "/jobs": (None, {200: _object("redis", "model_version", "workers", "waiting")}, set()),
    "/metrics": (None, {200: {"text/plain": {"schema": _TEXT}}}, set()),
    "/trials": ({"multipart/form-data": {"schema": _FORM}}, {303: None}, {400}),
    "/trials/{job_id}": (None, {200: _HTML, 404: _HTML}, set()),
    "/reports/{run}": (None, {200: _HTML, 404: _HTML}, set()),
}


def openapi_document(app: FastAPI) -> dict[str, Any]:
    """The document of all routes that lead through no secret."""
    paths: dict[str, Any] = {}
    schemas: dict[str, Any] = {}
    for path, methods in app.openapi()["paths"].items():
        if path.startswith("/{secret}"):
            continue
        takes, gives, refusals = _OPERATIONS[path]
        responses = {str(status): _response(content) for status, content in gives.items()}
        # 401 is for those without a password, 404 and 405 for what is no route.
        responses |= {str(status): _response(_json(_ERROR)) for status in refusals | {401}}
        for method, operation in methods.items():
            described: dict[str, Any] = {"responses": responses}
            if "parameters" in operation:
                described["parameters"] = operation["parameters"]
            if takes is not None:
                described["requestBody"] = {"required": True, "content": takes}
                for content in takes.values():
                    schemas |= content["schema"].get("$defs", {})
            paths.setdefault(path, {})[method] = described
    return {
        "openapi": "3.1.0",
        "info": {"title": app.title, "version": app.version},
        "paths": paths,
        "components": {"schemas": schemas},
    }


def _response(content: Any) -> dict[str, Any]:
    return {"description": ""} | ({"content": content} if content is not None else {})
