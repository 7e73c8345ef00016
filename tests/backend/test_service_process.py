"""Servers as child processes: ready means ready, and a failure shows the end of the log."""

import os
import socket
import sys
from pathlib import Path

import pytest
import requests

from backend.service_process import ServiceCommand, ServiceProcess, ServiceStartError, free_port

# Answers /health with {"state": "loading"} twice and then with {"state": "ready"}.
SERVER = """
import itertools, json, sys
from http.server import BaseHTTPRequestHandler, HTTPServer

count = itertools.count()

class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        state = "loading" if next(count) < 2 else "ready"
        self.wfile.write(json.dumps({"state": state, "more": 1}).encode())

HTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
"""


def command(directory: Path, program: str, *, state: str = "ready") -> ServiceCommand:
    port = free_port()
    return ServiceCommand(
        name="The server",
        arguments=[sys.executable, "-u", "-c", program, str(port)],
        environment=dict(os.environ),
        health_url=f"http://127.0.0.1:{port}/health",
        log_file=directory / "logs" / "server.log",
        working_directory=directory,
        ready_health={"state": state},
    )


def test_is_ready_when_its_health_says_so_and_gone_after_the_block(tmp_path: Path) -> None:
    started = command(tmp_path, SERVER)
    waited: list[float] = []

    with ServiceProcess(started) as server:
        server.wait_until_ready(60, waited.append)
        assert len(waited) >= 2
        assert not server.has_ended(within=0)

    with pytest.raises(requests.ConnectionError):
        requests.get(started.health_url, timeout=1)


def test_a_server_that_is_never_ready_is_given_up(tmp_path: Path) -> None:
    with (
        ServiceProcess(command(tmp_path, SERVER, state="never")) as server,
        pytest.raises(ServiceStartError, match="was not ready within 1 s"),
    ):
        server.wait_until_ready(1)


def test_a_server_that_ends_shows_the_end_of_its_log(tmp_path: Path) -> None:
    program = "print(*range(100), sep='\\n'); raise SystemExit('the disk is full')"
    with (
        ServiceProcess(command(tmp_path, program)) as server,
        pytest.raises(ServiceStartError) as caught,
    ):
        server.wait_until_ready(60)

    message = str(caught.value)
    assert "ended with exit code 1" in message
    assert str(tmp_path / "logs" / "server.log") in message
    assert message.endswith("99\nthe disk is full")
    assert "\n50\n" not in message


def test_free_port_passes_over_taken_ones() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]

        assert free_port(port) > port
        with pytest.raises(ServiceStartError, match=str(port)):
            free_port(port, tries=1)
