"""The doctor's view of Label Studio: reachable, the API key, its bans, who is connected to us.

Everything is read but for one request that Label Studio always refuses: a backend without a
project. It checks the address before it notices, and so tells whether it would ban ours.
"""

import base64
import binascii
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import requests

from backend.errors import LabelStudioError
from backend.findings import Check, Finding
from backend.label_studio_http import LabelStudioHttp, NoAnswerError
from backend.outbound import Origin
from backend.settings import Settings
from backend.versions import model_version

TESTED_VERSION = "1.23"

_REQUEST_SECONDS = 5.0
_QUICK_SECONDS = 15.0
# For each project Label Studio asks its backends for /health and /setup.
_PROJECTS_SECONDS = 60.0
_MAX_PROJECTS = 100
_LOCAL_NAMES = {"localhost", "127.0.0.1", "::1"}
_DAY_SECONDS = 86_400


class LabelStudioChecks:
    """What can be seen of Label Studio from here."""

    def __init__(self, settings: Settings, backend_url: str) -> None:
        """Args: settings: with Label Studio's URL and API key; backend_url: ours, as it sees it."""
        self._settings = settings
        self._url = settings.label_studio_url.rstrip("/")
        self._backend_url = backend_url.rstrip("/")
        self._secret = settings.webhook_secret.get_secret_value()

    def checks(self) -> list[Check]:
        """All checks, those first that the others build on."""
        return [
            Check("Label Studio", self._server, _QUICK_SECONDS),
            Check("API key", self._key, _QUICK_SECONDS),
            Check("local files", self._local_files, _QUICK_SECONDS),
            Check("private addresses", self._bans, _QUICK_SECONDS),
            Check("connections", self._connections, _PROJECTS_SECONDS + _QUICK_SECONDS),
        ]

    def _server(self) -> Iterator[Finding]:
        subject = "Label Studio"
        if not self._url:
            advice = "Set LABEL_STUDIO_URL: uploaded images and storages cannot be read without."
            yield Finding("warning", subject, "no address is set", advice)
            return
        try:
            reply = self._http().request_without_key("GET", "/api/version/")
            found = reply.json().get("label-studio-os-package", {}).get("version", "")
        except (NoAnswerError, ValueError, AttributeError) as error:
            advice = "Check LABEL_STUDIO_URL; in a container localhost is the container itself."
            reason = error.reason if isinstance(error, NoAnswerError) else type(error).__name__
            detail = f"does not answer as Label Studio does ({reason})"
            yield Finding("problem", subject, detail, advice)
            return
        if reply.is_redirect:
            advice = "Set LABEL_STUDIO_URL to the address it redirects to."
            yield Finding("problem", subject, "redirects to another address", advice)
        elif str(found).startswith(f"{TESTED_VERSION}."):
            yield Finding("ok", subject, f"version {found} answers")
        else:
            advice = f"This backend is made for Label Studio {TESTED_VERSION}."
            yield Finding("warning", subject, f"version {found or 'unknown'} answers", advice)

    def _key(self) -> Iterator[Finding]:
        key = self._settings.label_studio_api_key.get_secret_value().strip()
        if not self._url or not key:
            advice = "Set LABEL_STUDIO_API_KEY to a token from Account & Settings."
            yield Finding("warning", "API key", "none is set, or no address to use it at", advice)
            return
        kind, claims = _kind_of(key)
        if claims.get("token_type") == "access":
            advice = "Use the personal access token itself, from Account & Settings."
            detail = "it is an access token, which lasts some minutes"
            yield Finding("problem", "API key", detail, advice)
            return
        try:
            reply = self._http().request("GET", "/api/current-user/whoami")
        except LabelStudioError as error:
            yield Finding("problem", "API key", f"{kind}: {error}")
            return
        if reply.status_code == requests.codes.ok:
            days = (claims.get("exp", float("inf")) - time.time()) / _DAY_SECONDS
            expires = f", expires in {days:.0f} days" if days < 3650 else ""
            yield Finding("ok", "API key", f"{kind} works{expires}")
        else:
            advice = (
                "Make a new personal access token, or let the organization's settings allow "
                "legacy tokens."
            )
            detail = f"{kind} is refused ({reply.status_code})"
            yield Finding("problem", "API key", detail, advice)

    def _local_files(self) -> Iterator[Finding]:
        root = self._settings.local_files_root
        if root:
            if Path(root).is_dir():
                yield Finding("ok", "local files", f"are read from {root}")
            else:
                advice = "Set SELF1E_LOCAL_FILES_ROOT to a directory that this machine sees."
                yield Finding("problem", "local files", f"{root} is no directory", advice)
            return
        try:
            # A name that no storage has: 404 if local files are served, 403 if they are not.
            name = {"d": "self1e-doctor/none"}
            reply = self._http().request("GET", "/data/local-files/", params=name)
        except LabelStudioError:
            return
        if reply.status_code == requests.codes.not_found:
            yield Finding("ok", "local files", "Label Studio serves them")
        elif reply.status_code == requests.codes.forbidden:
            detail = "Label Studio does not serve them, which matters only if tasks use them"
            yield Finding("ok", "local files", detail)

    def _bans(self) -> Iterator[Finding]:
        subject = "private addresses"
        try:
            reply = self._http().request("POST", "/api/ml", json={"url": self._backend_url})
        except LabelStudioError:
            return
        if reply.status_code == requests.codes.forbidden and "network address" in reply.text:
            yield Finding(
                "problem",
                subject,
                f"Label Studio bans {self._backend_url}",
                "Start it with USE_DEFAULT_BANNED_SUBNETS=false, and with "
                "USER_ADDITIONAL_BANNED_SUBNETS for what must stay banned (see the README).",
            )
        elif reply.status_code == requests.codes.bad_request and "project" in reply.text:
            detail = f"Label Studio does not ban {self._backend_url}"
            yield Finding("ok", subject, detail)
        else:
            advice = "See whether the API key's user may change projects."
            detail = f"cannot be told from Label Studio's answer ({reply.status_code})"
            yield Finding("warning", subject, detail, advice)

    def _connections(self) -> Iterator[Finding]:
        """Projects whose backend is this one, as Label Studio sees it at this moment."""
        deadline = time.monotonic() + _PROJECTS_SECONDS
        try:
            listed = self._json("/api/projects", page_size=_MAX_PROJECTS, ordering="-created_at")
            connected = 0
            for index, project in enumerate(listed["results"]):
                if time.monotonic() > deadline:
                    detail = f"only {index} of {listed['count']} projects were looked at"
                    yield Finding("warning", "connections", detail)
                    break
                for backend in self._json("/api/ml", project=project["id"]):
                    if self._is_this(backend):
                        connected += 1
                        yield from self._connection(project, backend)
            if not connected:
                advice = "Connect one in its Settings > Model > Connect Model."
                detail = f"no project that this key sees uses {self._backend_url}"
                yield Finding("warning", "connections", detail, advice)
        except NoAnswerError as error:
            yield Finding("warning", "connections", str(error))
        except LabelStudioError:
            return  # the key's own check has said so
        except (requests.HTTPError, ValueError, KeyError, TypeError) as error:
            detail = f"Label Studio's answer is not understood ({type(error).__name__})"
            yield Finding("warning", "connections", detail)

    def _connection(self, project: dict[str, Any], backend: dict[str, Any]) -> Iterator[Finding]:
        subject = f"project {project['id']}"
        if backend.get("state") == "CO":
            yield Finding("ok", subject, "Label Studio reaches this backend")
        else:
            reason = backend.get("error_message") or backend.get("readable_state", "unknown")
            advice = "See whether its address and password in Settings > Model are right."
            yield Finding("problem", subject, f"Label Studio has trouble: {reason}", advice)
        if not backend.get("is_interactive"):
            advice = "Switch it on in Settings > Model, or prompts do nothing."
            yield Finding("warning", subject, "Interactive preannotations is off", advice)
        url = backend["url"].rstrip("/")
        if self._secret and urlsplit(url).path.strip("/") != self._secret:
            advice = "Connect http://HOST:PORT/<SELF1E_WEBHOOK_SECRET> instead."
            yield Finding("warning", subject, "its address lacks the webhook secret", advice)
        webhooks = self._json("/api/webhooks/", project=project["id"])
        active = {each["url"] for each in webhooks if each.get("is_active", True)}
        if f"{url}/webhook" in active:
            yield Finding("ok", subject, "its webhook is there")
        else:
            advice = "Remove the model in Settings > Model and connect it again."
            yield Finding("warning", subject, "it has no active webhook to this backend", advice)

    def _is_this(self, backend: dict[str, Any]) -> bool:
        """Whether a connected backend is this one, as far as its address or version tells."""
        try:
            theirs, ours = Origin.of(backend["url"]), Origin.of(self._backend_url)
        except ValueError:
            return False
        same_host = theirs.host == ours.host or {theirs.host, ours.host} <= _LOCAL_NAMES
        same_version = backend.get("model_version") == model_version(self._settings.model)
        return (same_host and theirs.port == ours.port) or same_version

    def _json(self, path: str, **params: object) -> Any:
        reply = self._http().request("GET", path, params=params)
        if reply.status_code in {requests.codes.unauthorized, requests.codes.forbidden}:
            raise LabelStudioError(f"{path} answered {reply.status_code}.")
        reply.raise_for_status()
        return reply.json()

    def _http(self) -> LabelStudioHttp:
        """Requests with the key as it is now: each check stands for itself."""
        return LabelStudioHttp(self._settings, _REQUEST_SECONDS)


def _kind_of(key: str) -> tuple[str, dict[str, Any]]:
    """What kind of key it is, and what it says of itself."""
    parts = key.split(".")
    if len(parts) != len(("header", "claims", "signature")):
        return "legacy token", {}
    try:
        claims = json.loads(base64.urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4)))
    except (binascii.Error, ValueError):
        return "legacy token", {}
    return "personal access token", claims if isinstance(claims, dict) else {}
