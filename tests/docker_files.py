"""What docker/ says, for tests without a container engine."""

import json
import re
import sys
from typing import Any

import yaml

from tests.conftest import ROOT

DOCKER = ROOT / "docker"
COMPOSE_TEXT = (DOCKER / "compose.yaml").read_text()
COMPOSE: dict[str, Any] = yaml.safe_load(COMPOSE_TEXT)
DOCKERFILE = (DOCKER / "Dockerfile").read_text().replace("\\\n", " ")
STAGES = {
    match[1]: match[2]
    for match in re.finditer(r"^FROM \S+ AS (\S+)\n(.*?)(?=^FROM |\Z)", DOCKERFILE, re.M | re.S)
}
"""The instructions of each stage, one in a line."""


def image_command(stage: str, instruction: str) -> list[str]:
    """A command of an image in exec form, as CMD's is, with this test's Python."""
    words = json.loads(re.findall(rf"^{instruction} .*?(\[.*\])", STAGES[stage], re.M)[0])
    assert all(isinstance(word, str) for word in words)
    return [sys.executable if word == "python" else word for word in words]


def service_command(service: str) -> list[str]:
    """What a service that is built here runs."""
    own: list[str] | None = COMPOSE["services"][service].get("command")
    stage = COMPOSE["services"][service]["build"]["target"]
    return [*image_command("base", "ENTRYPOINT"), *(own or image_command(stage, "CMD"))]


def service_environment(service: str, filled_in: dict[str, str]) -> dict[str, str]:
    """A service's variables, with what the file beside compose.yaml says."""

    def fill(value: str) -> str:
        return re.sub(r"\$\{(\w+)[^}]*\}", lambda match: filled_in[match[1]], value)

    environment: dict[str, str] = COMPOSE["services"][service]["environment"]
    return {name: fill(value) for name, value in environment.items()}


def example_env() -> dict[str, str]:
    """Names and values of example.env; secrets are empty."""
    lines = (DOCKER / "example.env").read_text().splitlines()
    return dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))
