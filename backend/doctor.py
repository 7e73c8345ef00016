"""`python -m backend doctor`: looks at everything a prediction needs, and says what to do.

It changes nothing anywhere, and may be run at any time, also while the backend runs.
"""

import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from huggingface_hub import try_to_load_from_cache
from pydantic import SecretStr

import self1e
from backend.doctor_label_studio import LabelStudioChecks
from backend.errors import QueueUnavailableError
from backend.findings import Check, Finding, Level, findings_of
from backend.health_check import reachable_host, web_health
from backend.log import secret_values, without_secrets
from backend.queue import JobQueue
from backend.settings import Settings
from backend.versions import model_version
from backend.worker_board import WorkerRecord, read_workers

_QUICK_SECONDS = 15.0
_LOAD_SECONDS = 180.0
_LITTLE_DISK_BYTES = 2**30
_NO_DISK_BYTES = 64 * 2**20

# In a process of its own: it can be stopped, and takes the model's memory with it.
_LOAD = """
import sys
from self1e.checkpoint import CheckpointError, load_predictor
try:
    print(load_predictor(sys.argv[1], device=sys.argv[2], dtype=sys.argv[3]).model.device)
except CheckpointError as error:
    sys.exit(str(error))
"""


def run_doctor(settings: Settings, *, backend_url: str, say: Callable[[str], None]) -> int:
    """Examines the backend and its Label Studio.

    Args:
        settings: those the backend runs with.
        backend_url: where Label Studio finds this backend; empty takes HOST and PORT.
        say: told line by line; secrets are taken out before.

    Returns:
        The exit code: 1 if there is a problem, 0 if there are warnings at most.
    """
    secrets = secret_values(settings)
    queue = JobQueue.from_settings(settings)
    levels = set()
    url = backend_url or f"http://{reachable_host(settings.host)}:{settings.port}"
    checks = [*_own_checks(settings, queue), *LabelStudioChecks(settings, url).checks()]
    for check in checks:
        for finding in findings_of(check):
            say(without_secrets(str(finding), secrets))
            levels.add(finding.level)
    queue.close()
    return 1 if "problem" in levels else 0


def with_label_studio(settings: Settings, url: str | None, api_key: str | None) -> Settings:
    """The settings with what the command line says of Label Studio."""
    changes: dict[str, object] = {}
    if url is not None:
        changes["label_studio_url"] = url
    if api_key is not None:
        changes["label_studio_api_key"] = SecretStr(api_key)
    return settings.model_copy(update=changes)


def _own_checks(settings: Settings, queue: JobQueue) -> list[Check]:
    return [
        Check("redis", lambda: _redis(settings, queue), _QUICK_SECONDS),
        Check("web process", lambda: _web(settings), _QUICK_SECONDS),
        Check("workers", lambda: _workers(queue), _QUICK_SECONDS),
        Check("model", lambda: _model(settings, queue), _LOAD_SECONDS + _QUICK_SECONDS),
        Check("data directory", lambda: _data_dir(settings.data_dir), _QUICK_SECONDS),
        Check("access", lambda: _access(settings), _QUICK_SECONDS),
    ]


def _redis(settings: Settings, queue: JobQueue) -> Iterator[Finding]:
    configured = bool(settings.redis_url.get_secret_value())
    try:
        queue.ping()
    except QueueUnavailableError as error:
        advice = (
            "Check REDIS_URL, the server and the network between."
            if configured
            else "Start python -m backend serve, which brings one, or set REDIS_URL."
        )
        yield Finding("problem", "redis", str(error), advice)
    else:
        yield Finding("ok", "redis", "answers" if configured else "the embedded one answers")


def _web(settings: Settings) -> Iterator[Finding]:
    where = f"http://{reachable_host(settings.host)}:{settings.port}"
    health = web_health(settings)
    if health.get("status") == "UP":
        yield Finding("ok", "web process", f"answers at {where}")
    else:
        yield Finding(
            "warning",
            "web process",
            f"does not answer at {where}",
            "Start python -m backend serve, or run the doctor with its HOST and PORT.",
        )


def _workers(queue: JobQueue) -> Iterator[Finding]:
    workers = _known_workers(queue)
    if not any(worker.state == "ready" for worker in workers):
        loading = any(worker.state == "loading" for worker in workers)
        yield Finding(
            "warning" if loading else "problem",
            "workers",
            "none is ready",
            "Wait: the model is loading." if loading else "Start python -m backend worker.",
        )
    for worker in workers:
        who = f"{worker.name} on {worker.hostname} (process {worker.pid})"
        if worker.state == "away":
            advice = "It ended without a word; its log and the system's say why."
            yield Finding("warning", "workers", f"{who} is away", advice)
        else:
            what = f"{worker.model_version or 'the model'} on {worker.device or 'its device'}"
            yield Finding("ok", "workers", f"{who} is {worker.state}: {what}")


def _known_workers(queue: JobQueue) -> list[WorkerRecord]:
    try:
        return read_workers(queue)
    except QueueUnavailableError:
        return []


def _model(settings: Settings, queue: JobQueue) -> Iterator[Finding]:
    version = model_version(settings.model)
    ready = [worker for worker in _known_workers(queue) if worker.state == "ready"]
    if any(worker.model_version == version for worker in ready):
        yield Finding("ok", "model", f"{version} is loaded by a worker")
        return
    if ready:
        yield Finding(
            "warning",
            "model",
            f"workers serve {ready[0].model_version}, SELF1E_MODEL here is {version}",
            "Start web processes and workers with the same SELF1E_MODEL.",
        )
    if not _is_here(settings.model):
        yield Finding(
            "problem",
            "model",
            f"{settings.model} is not on this machine",
            "Set SELF1E_MODEL to demo, a directory with weights, or the id of a model on the hub, "
            "which a worker downloads at its first start.",
        )
        return
    if importlib.util.find_spec("torch") is None:
        yield Finding(
            "warning",
            "model",
            f"{version} cannot be loaded here: torch is not installed",
            "Run the doctor where a worker runs.",
        )
        return
    yield _loaded(settings, version)


def _is_here(model: str) -> bool:
    """Whether the weights are on this machine, complete or not."""
    directory = Path(model).expanduser()
    if model == "demo" or directory.is_dir():
        demo = Path(self1e.__file__).parent / "demo_model"
        return any((demo if model == "demo" else directory).glob("*.safetensors"))
    owner, _, rest = model.partition("/")
    name, _, folder = rest.partition("/")
    config = "/".join(part for part in (folder, "config.json") if part)
    return bool(name) and isinstance(try_to_load_from_cache(f"{owner}/{name}", config), str)


def _loaded(settings: Settings, version: str) -> Finding:
    """Loads the model in another process, without downloading it."""
    try:
        loading = subprocess.run(
            [sys.executable, "-c", _LOAD, settings.model, settings.device, settings.dtype],
            env=os.environ | {"HF_HUB_OFFLINE": "1"},
            capture_output=True,
            text=True,
            timeout=_LOAD_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        detail = f"{version} did not load within {_LOAD_SECONDS:g} s"
        return Finding("warning", "model", detail, "A large model may need longer; watch a worker.")
    if loading.returncode == 0:
        return Finding("ok", "model", f"{version} loads, on {loading.stdout.split()[-1]}")
    reason = (loading.stderr.strip().splitlines() or ["killed, perhaps for lack of memory"])[-1]
    return Finding(
        "problem",
        "model",
        f"{settings.model} does not load: {reason}",
        "Check SELF1E_MODEL, SELF1E_DEVICE and the memory that is free.",
    )


def _data_dir(directory: Path) -> Iterator[Finding]:
    try:
        directory.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=directory):
            free = shutil.disk_usage(directory).free
    except OSError as error:
        reason = error.strerror or type(error).__name__
        advice = "Set SELF1E_DATA_DIR to a directory that the backend's user may write to."
        yield Finding("problem", "data directory", f"{directory}: {reason}", advice)
        return
    level: Level = "ok"
    if free < _LITTLE_DISK_BYTES:
        level = "problem" if free < _NO_DISK_BYTES else "warning"
    yield Finding(
        level,
        "data directory",
        f"{directory} is writable, {free / 2**30:.1f} GiB are free",
        "" if level == "ok" else "Redis and the system fail when the disk is full: make room.",
    )


def _access(settings: Settings) -> Iterator[Finding]:
    if not (settings.is_local or settings.basic_auth_user):
        yield Finding(
            "warning",
            "access",
            f"anybody who reaches {settings.host}:{settings.port} may use this backend",
            "Set BASIC_AUTH_USER and BASIC_AUTH_PASS, and enter them in Label Studio.",
        )
    elif not (settings.is_local or settings.webhook_secret.get_secret_value()):
        yield Finding(
            "warning",
            "access",
            "basic auth is on, but anybody may send webhooks",
            "Set SELF1E_WEBHOOK_SECRET and connect Label Studio to a URL with it.",
        )
    else:
        yield Finding("ok", "access", "this machine only" if settings.is_local else "guarded")
