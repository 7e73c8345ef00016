"""The web process against its OpenAPI document: schemathesis asks, every reply conforms."""

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as examples

from backend.app import create_app
from backend.queue import JobQueue
from backend.service_process import ServiceCommand, ServiceProcess, free_port
from backend.settings import Settings
from tests.conftest import ROOT
from tests.integration.conftest import StartWorker
from tests.integration.openapi import openapi_document

# Its releases that go with this pytest need Python 3.11.
schemathesis = pytest.importorskip("schemathesis")
base_checks = pytest.importorskip("schemathesis.checks")
openapi_checks = pytest.importorskip("schemathesis.specs.openapi.checks")

pytestmark = pytest.mark.timeout(300)


@pytest.fixture
def web_url(
    settings: Settings, queue: JobQueue, start_worker: StartWorker, tmp_path: Path
) -> Iterator[str]:
    """A web process of its own, with a worker."""
    start_worker()
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    environment = os.environ | {
        "SELF1E_DATA_DIR": str(settings.data_dir),
        "SELF1E_PREDICT_TIMEOUT": "1",
        "PORT": str(port),
    }
    command = ServiceCommand(
        name="web",
        arguments=[sys.executable, "-m", "backend", "web"],
        environment=environment,
        health_url=f"{url}/health",
        log_file=tmp_path / "web.log",
        working_directory=ROOT,
        ready_health={"worker": "ready"},
    )
    with ServiceProcess(command) as process:
        process.wait_until_ready(120)
        yield url


def test_replies_conform_to_the_document(web_url: str, settings: Settings, queue: JobQueue) -> None:
    schema = schemathesis.openapi.from_dict(openapi_document(create_app(settings, queue)))
    checks = [
        base_checks.not_a_server_error,
        openapi_checks.status_code_conformance,
        openapi_checks.content_type_conformance,
        openapi_checks.response_schema_conformance,
    ]
    tested = 0
    for result in schema.get_all_operations():
        operation = result.ok()

        @examples(
            derandomize=True,
            database=None,
            deadline=None,
            max_examples=25,
            suppress_health_check=list(HealthCheck),
        )
        @given(case=operation.as_strategy())
        def check(case: Any) -> None:
            reply = case.call(base_url=web_url, allow_redirects=False)
            case.validate_response(reply, checks=checks)

        check()
        tested += 1
    assert tested == len(schema)
