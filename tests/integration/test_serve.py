"""`python -m backend serve` as an operator sees it: started, failing, stopped.

All processes it starts share its output, so the end of the output is the end of all of them.
"""

import base64
import json
import os
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path

import pytest
import redis

from tests.integration.conftest import Serve, StartWorker, read_until
from tests.integration.scripted_worker import VERSION

pytestmark = pytest.mark.timeout(120)

SECRETS = {
    "LABEL_STUDIO_API_KEY": "api-key-0123456789",
    "BASIC_AUTH_USER": "user-word",
    "BASIC_AUTH_PASS": "basic-word-0123456789",
    "SELF1E_WEBHOOK_SECRET": "webhook-word-0123456789",
}
CONFIG = """\
<View>
  <Image name="image" value="$image"/>
  <BrushLabels name="mask" toName="image"><Label value="fail"/></BrushLabels>
</View>"""


def request(
    port: int, path: str, body: object = None, credentials: str | None = None
) -> tuple[int, str]:
    """The status and the body of the reply."""
    data = None if body is None else json.dumps(body).encode()
    headers = {}
    if credentials is not None:
        headers["Authorization"] = "Basic " + base64.b64encode(credentials.encode()).decode()
    asked = urllib.request.Request(f"http://127.0.0.1:{port}{path}", data, headers)
    try:
        with urllib.request.urlopen(asked, timeout=60) as reply:
            return int(reply.status), reply.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_one_signal_stops_everything(
    serve: Serve, start_worker: StartWorker, port: int, signum: signal.Signals
) -> None:
    backend = serve("--workers", "2")
    read_until(backend, "logger=backend.web event=starting")
    start_worker()
    read_until(backend, "Ready")
    backend.send_signal(signum)
    # Returns when the last process that could write has ended.
    backend.communicate(timeout=30)
    assert backend.returncode == (-signum if signum == signal.SIGKILL else 0)
    with pytest.raises(urllib.error.URLError):
        request(port, "/health")


def test_it_says_once_where_to_connect(serve: Serve, start_worker: StartWorker, port: int) -> None:
    backend = serve()
    read_until(backend, "logger=backend.web event=starting")
    start_worker()
    announced = read_until(backend, "Ctrl-C stops everything")
    assert f"Ready ({VERSION}). Connect Label Studio to http://127.0.0.1:{port}\n" in announced
    backend.send_signal(signal.SIGINT)
    output, _ = backend.communicate(timeout=30)
    assert "Ready" not in output


def test_a_worker_that_ends_is_started_again_after_longer_and_longer_pauses(
    serve: Serve, port: int
) -> None:
    backend = serve()
    output = read_until(backend, "restart_in_s=1.0") + read_until(backend, "restart_in_s=2.0")
    assert "model not loaded" in output
    assert request(port, "/health")[0] == 200


def test_a_port_in_use_stops_everything_with_the_reason(serve: Serve, port: int) -> None:
    with socket.socket() as taken:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        taken.bind(("127.0.0.1", port))
        taken.listen()
        backend = serve()
        output, _ = backend.communicate(timeout=60)
    assert backend.returncode == 1
    assert "address already in use" in output
    assert "web ended: stopping everything" in output


def test_without_its_redis_everything_stops(serve: Serve, data_dir: Path) -> None:
    backend = serve()
    read_until(backend, "logger=backend.web event=starting")
    with redis.Redis(unix_socket_path=str(data_dir / "redis" / "redis.sock")) as client:
        os.kill(client.info("server")["process_id"], signal.SIGKILL)
    output, _ = backend.communicate(timeout=60)
    assert backend.returncode == 1
    assert "redis ended: stopping everything" in output


def test_a_second_backend_on_the_same_data_is_refused(serve: Serve) -> None:
    read_until(serve(), "logger=backend.web event=starting")
    second = serve()
    output, _ = second.communicate(timeout=60)
    assert second.returncode == 1
    assert "Another backend is running" in output


def test_no_secret_gets_into_the_output(serve: Serve, start_worker: StartWorker, port: int) -> None:
    backend = serve(**SECRETS)
    output = read_until(backend, "logger=backend.web event=starting")
    worker = start_worker()
    output += read_until(backend, "Ready")
    signed = "http://images.test/1.png?X-Amz-Signature=signature-0123456789"
    predict = {
        "tasks": [{"id": 1, "data": {"image": signed}}],
        "label_config": CONFIG,
        "params": {"login": "user-word", "password": SECRETS["BASIC_AUTH_PASS"], "context": None},
    }
    secret = SECRETS["SELF1E_WEBHOOK_SECRET"]
    project_token = "project-token-0123456789"
    webhook = {"action": "PROJECT_UPDATED", "project": {"id": 1, "token": project_token}}
    assert request(port, f"/{secret}/webhook", webhook)[0] == 200
    assert request(port, "/webhook", webhook)[0] == 404
    assert request(port, f"/{secret}/predict", predict)[0] == 401
    right = f"{SECRETS['BASIC_AUTH_USER']}:{SECRETS['BASIC_AUTH_PASS']}"
    answer = request(port, f"/{secret}/predict", predict, right)
    assert answer == (200, '{"results":[[]]}')
    bad = request(port, f"/{secret}/setup", {"schema": SECRETS["BASIC_AUTH_PASS"]}, right)
    assert bad[0] == 400
    backend.send_signal(signal.SIGINT)
    output += backend.communicate(timeout=30)[0]
    worker.terminate()
    assert worker.stderr is not None
    output += worker.stderr.read().decode()
    assert output.count("route=") == 5
    assert "The prompt told me to fail." in output
    for word in [*SECRETS.values(), "signature-0123456789", project_token]:
        assert word not in output


@pytest.mark.parametrize("command", ["web", "worker"])
def test_a_wrong_setting_is_named(command: str) -> None:
    ran = subprocess.run(
        [sys.executable, "-m", "backend", command],
        env=os.environ | {"SELF1E_MAX_TILES": "many"},
        capture_output=True,
        text=True,
    )
    assert ran.returncode == 2
    assert ran.stderr.startswith("SELF1E_MAX_TILES: ")
    assert "Traceback" not in ran.stderr


def test_a_worker_without_redis_says_what_to_do(data_dir: Path) -> None:
    ran = subprocess.run(
        [sys.executable, "-m", "backend.worker"],
        env=os.environ | {"SELF1E_DATA_DIR": str(data_dir)},
        capture_output=True,
        text=True,
    )
    assert ran.returncode == 1
    assert "start `python -m backend serve`" in ran.stderr
    assert "Traceback" not in ran.stderr
