"""Structured logs: one event a line as `key=value`, for people and log collectors alike.

Secrets are taken out of every line, whoever wrote it: libraries put URLs into their errors.
"""

import json
import logging
import re
import sys
from collections.abc import Iterable
from datetime import datetime, timezone

from pydantic import SecretStr

from backend.settings import Settings

# Signatures of storages travel in the query, credentials in front of the host.
_URL_QUERY = re.compile(r"(\b[a-z][a-z0-9+.-]*://[^\s?\"'<>]+)\?[^\s\"'<>]*")
_URL_CREDENTIALS = re.compile(r"(\b[a-z][a-z0-9+.-]*://)[^\s/@\"'<>]+@")
_BARE_VALUE = re.compile(r"[^\s\"=]+")
# A shorter secret would blot out ordinary words, and is none.
_SHORTEST_SECRET = 4


class EventFormatter(logging.Formatter):
    """Formats a record as `time level process logger "event" key=value ...` on one line."""

    def __init__(self, process: str, secrets: Iterable[str]) -> None:
        super().__init__()
        self._process = process
        self._secrets = list(secrets)

    def format(self, record: logging.LogRecord) -> str:
        """Returns the record's line, without secrets and without line breaks."""
        time = datetime.fromtimestamp(record.created, timezone.utc)
        fields: dict[str, object] = {"process": self._process} if self._process else {}
        fields |= {"logger": record.name, "event": record.getMessage()}
        fields |= getattr(record, "fields", {})
        if record.exc_info:
            fields["traceback"] = self.formatException(record.exc_info)
        pairs = " ".join(f"{key}={_quoted(value)}" for key, value in fields.items())
        line = f"{time.isoformat(timespec='milliseconds')} {record.levelname} {pairs}"
        return without_secrets(line, self._secrets)


def secret_values(settings: Settings) -> list[str]:
    """All secrets of the settings."""
    return [
        value.get_secret_value() for _, value in settings if isinstance(value, SecretStr) and value
    ]


def without_secrets(text: str, secrets: Iterable[str]) -> str:
    """The text without the secrets, and without credentials and queries in URLs."""
    known = (secret for secret in secrets if len(secret) >= _SHORTEST_SECRET)
    for secret in sorted(known, key=len, reverse=True):
        text = text.replace(secret, "***")
    text = _URL_CREDENTIALS.sub(r"\1***@", text)
    return _URL_QUERY.sub(r"\1?***", text)


def configure_logging(settings: Settings, process: str = "") -> None:
    """Sends all logs of this process to stderr, one event a line.

    Args:
        settings: gives the level and the secrets to keep out.
        process: name of this process among its siblings, such as "worker-1".
    """
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(EventFormatter(process, secret_values(settings)))
    logging.basicConfig(level=settings.log_level, handlers=[handler], force=True)
    logging.captureWarnings(True)


def log_event(
    logger: logging.Logger,
    level: int,
    event: str,
    /,
    *,
    exc_info: BaseException | None = None,
    **fields: object,
) -> None:
    """Logs an event with its fields."""
    logger.log(level, event, exc_info=exc_info, extra={"fields": fields}, stacklevel=2)


def _quoted(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.1f}"
    text = str(value)
    return text if _BARE_VALUE.fullmatch(text) else json.dumps(text, ensure_ascii=False)
