"""Requests that Label Studio 1.23.2 sent to a backend, recorded with names and tokens removed."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

DIRECTORY = Path(__file__).parent / "requests"


@dataclass(frozen=True)
class RecordedRequest:
    """One request; `name` is its file's, `body` its parsed JSON or None."""

    name: str
    method: str
    path: str
    body: Any


def recorded_requests(path: str) -> list[RecordedRequest]:
    """All recorded requests to this path, by name."""
    requests = [
        RecordedRequest(file.stem, **json.loads(file.read_text()))
        for file in sorted(DIRECTORY.glob("*.json"))
    ]
    return [request for request in requests if request.path == path]
