"""The images and the compose file, as far as that can be seen without a container engine."""

import re
import subprocess
import sys
from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, packages_distributions, requires
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from pydantic import AliasChoices

from backend.settings import Settings
from tests.conftest import LABEL_STUDIO_PROGRAM, ROOT
from tests.docker_files import (
    COMPOSE,
    COMPOSE_TEXT,
    DOCKER,
    DOCKERFILE,
    STAGES,
    example_env,
    image_command,
    service_command,
)


def setting_variables() -> set[str]:
    names: set[object] = set()
    for field in Settings.model_fields.values():
        alias = field.validation_alias
        names |= set(alias.choices) if isinstance(alias, AliasChoices) else {alias}
    return {str(name) for name in names}


def test_each_service_that_is_built_names_a_stage_and_its_arguments() -> None:
    built = {name: each["build"] for name, each in COMPOSE["services"].items() if "build" in each}
    assert {each["target"] for each in built.values()} == {"web", "worker"}
    for each in built.values():
        assert (DOCKER / each["context"] / each["dockerfile"]).is_file()
        stage = STAGES[each["target"]]
        for argument in each.get("args", {}):
            assert re.search(rf"^ARG {argument}\b", stage, re.M)


@pytest.mark.parametrize("service", ["web", "worker", "trainer"])
def test_the_backends_variables_are_settings(service: str) -> None:
    assert set(COMPOSE["services"][service]["environment"]) <= setting_variables()


def test_label_studios_variables_are_read_by_label_studio() -> None:
    package = next(LABEL_STUDIO_PROGRAM.parents[1].glob("lib/python*/site-packages/label_studio"))
    places = [
        *package.glob("core/settings/*.py"),
        *package.glob("*.py"),
        *package.glob("core/*.py"),
    ]
    source = "\n".join(path.read_text() for path in places)
    for name in COMPOSE["services"]["label-studio"]["environment"]:
        names = {name, name.removeprefix("LABEL_STUDIO_")}
        assert any(re.search(rf"['\"]{each}['\"]", source) for each in names), name


def test_variables_to_fill_in_are_those_of_the_example() -> None:
    used = set(re.findall(r"\$\{(\w+)", COMPOSE_TEXT))
    given = example_env()
    assert set(given) == used
    for name, value in given.items():
        is_secret = re.search("PASS|KEY|SECRET", name)
        assert bool(value) is not bool(is_secret), name
        assert not is_secret or f"${{{name}:?" in COMPOSE_TEXT  # does not start without


def test_redis_can_be_reached_by_the_backend_only() -> None:
    services = COMPOSE["services"]
    assert COMPOSE["networks"]["queue"] == {"internal": True}
    assert services["redis"]["networks"] == ["queue"]
    assert "ports" not in services["redis"]
    members = [name for name, each in services.items() if "queue" in each.get("networks", [])]
    assert sorted(members) == ["redis", "trainer", "web", "worker"]


def test_label_studio_is_the_one_that_is_tested() -> None:
    constraints = (DOCKER / "label-studio-constraints.txt").read_text()
    version = re.findall(r"^label-studio==(.*)", constraints, re.M)[0]
    assert COMPOSE["services"]["label-studio"]["image"].endswith(f":{version}")


def test_files_that_are_copied_exist_and_are_sent_to_the_engine() -> None:
    sent = {
        line.removeprefix("!")
        for line in (DOCKER / "Dockerfile.dockerignore").read_text().splitlines()
        if line.startswith("!")
    }
    copied = [
        source
        for line in re.findall(r"^COPY (.*)", DOCKERFILE, re.M)
        for source in line.split()[:-1]
    ]
    assert set(copied) == sent
    assert all((ROOT / path).exists() for path in sent)


def test_the_web_image_can_be_reached_with_and_without_the_compose_file() -> None:
    (host,) = re.findall(r"^ENV HOST=(\S+)", STAGES["web"], re.M)
    assert host == COMPOSE["services"]["web"]["environment"]["HOST"] == "0.0.0.0"


@pytest.mark.parametrize("stage", ["web", "worker"])
def test_images_do_not_run_as_root(stage: str) -> None:
    assert re.findall(r"^USER (\S+)", STAGES[stage], re.M) == re.findall(
        r"--uid (\d+)", STAGES["base"]
    )


def web_requirements() -> list[str]:
    lines = (DOCKER / "web-requirements.txt").read_text().splitlines()
    return [line for line in lines if not line.startswith("#")]


def closure(names: Iterable[str]) -> set[str]:
    """Distributions that are installed with these, themselves too, in normal form."""
    found: set[str] = set()
    waiting = list(names)
    while waiting:
        name = re.sub(r"[-_.]+", "-", waiting.pop()).lower()
        if name in found:
            continue
        try:
            requirements = [Requirement(text) for text in requires(name) or []]
        except PackageNotFoundError:
            continue  # for another Python or system
        found.add(name)
        waiting += [each.name for each in requirements if not each.marker or each.marker.evaluate()]
    return found


def test_the_webs_requirements_are_the_projects_and_pinned() -> None:
    pinned = (DOCKER / "constraints.txt").read_text()
    project = {Requirement(text).name for text in requires("self1e-label-studio") or []}
    for name in web_requirements():
        assert name in project
    for name in closure(web_requirements()):
        assert re.search(rf"^{name}==", pinned, re.M | re.I), name


WITHOUT_OTHERS = """
import sys
class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in sys.argv[1:]:
            raise ModuleNotFoundError(name)
sys.meta_path.insert(0, Absent())
import backend.__main__, backend.health_check
from backend.queue import JobQueue
from backend.settings import Settings
from backend.web import create_app
settings = Settings()
create_app(settings, JobQueue.from_settings(settings))
"""


def test_the_web_process_needs_nothing_but_its_requirements(tmp_path: Path) -> None:
    there = closure(web_requirements()) | {"self1e-label-studio"}
    absent = [
        module
        for module, distributions in packages_distributions().items()
        if there.isdisjoint(re.sub(r"[-_.]+", "-", name).lower() for name in distributions)
    ]
    assert {"torch", "numpy", "label_studio_sdk"} <= set(absent)
    subprocess.run(
        [sys.executable, "-c", WITHOUT_OTHERS, *absent],
        env={"SELF1E_DATA_DIR": str(tmp_path)},
        cwd=ROOT,
        check=True,
    )


def test_health_is_asked_of_what_runs() -> None:
    for stage in ("web", "worker"):
        assert image_command(stage, "CMD") == [stage]
        check = image_command(stage, "HEALTHCHECK")
        assert check == [*service_command(stage), "--check"]
