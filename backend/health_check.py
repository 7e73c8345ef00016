"""Whether a process of the backend is well, asked from another: by `serve`, doctor, containers."""

import http.client
import ipaddress
import json
import socket
from typing import Any

from backend.errors import QueueUnavailableError
from backend.queue import JobQueue
from backend.settings import Settings
from backend.worker_board import read_workers

_WEB_TIMEOUT_SECONDS = 1.0


def reachable_host(host: str) -> str:
    """The host itself, or an address of this machine if it stands for all of them."""
    try:
        return "127.0.0.1" if ipaddress.ip_address(host).is_unspecified else host
    except ValueError:
        return host


def web_health(settings: Settings) -> dict[str, Any]:
    """The web process's /health, empty while it does not answer."""
    connection = http.client.HTTPConnection(
        reachable_host(settings.host), settings.port, timeout=_WEB_TIMEOUT_SECONDS
    )
    try:
        connection.request("GET", "/health")
        health = json.load(connection.getresponse())
    except (OSError, http.client.HTTPException, ValueError):
        return {}
    finally:
        connection.close()
    return health if isinstance(health, dict) else {}


def worker_is_alive(settings: Settings, name: str) -> bool:
    """Whether a worker of this name is loading or ready on this machine."""
    queue = JobQueue.from_settings(settings)
    try:
        workers = read_workers(queue)
    except QueueUnavailableError:
        return False
    finally:
        queue.close()
    here = socket.gethostname()
    return any(
        worker.name == name and worker.hostname == here and worker.state != "away"
        for worker in workers
    )
