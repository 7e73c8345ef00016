"""Hub ids, downloaded by the real client from a small hub on the loopback interface.

In processes of their own: the client reads its settings when it is imported.
"""

import hashlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

import pytest

from self1e.checkpoint import load_predictor
from self1e.hub import CheckpointError, find_checkpoint
from tests.web_server import Reply, Request, web_server

COMMIT = "a" * 40
REPOSITORY = "owner/name"
FIND = """
import json, sys
from self1e.hub import CheckpointError, find_checkpoint
found = []
for name in sys.argv[1:]:
    try:
        found.append(str(find_checkpoint(name)))
    except CheckpointError as error:
        found.append(f"CheckpointError: {error}")
print(json.dumps(found))
"""


def find(names: list[str], home: Path, **environment: str) -> list[str]:
    """What `find_checkpoint` gives for each name, with the hub's cache in a directory."""
    run = subprocess.run(
        [sys.executable, "-c", FIND, *names],
        env=os.environ | {"HF_HOME": str(home)} | environment,
        capture_output=True,
        text=True,
        check=True,
    )
    found: list[str] = json.loads(run.stdout)
    return found


class Hub:
    """Answers about one repository as the hub does, and notes which files it gave."""

    def __init__(self, files: Mapping[str, bytes]) -> None:
        self._files = files
        self.given: list[str] = []

    def __call__(self, request: Request) -> Reply:
        path = request.target.partition("?")[0]
        json_type = {"Content-Type": "application/json"}
        if path == f"/api/models/{REPOSITORY}/revision/main":
            return Reply(headers=json_type, body=self._json({"id": REPOSITORY, "sha": COMMIT}))
        if path == f"/api/models/{REPOSITORY}/tree/{COMMIT}":
            return Reply(headers=json_type, body=self._tree())
        name = path.removeprefix(f"/{REPOSITORY}/resolve/{COMMIT}/")
        if name not in self._files:
            return Reply(404)
        if request.method == "GET":
            self.given.append(name)
        digest = hashlib.sha1(self._files[name]).hexdigest()
        headers = {"X-Repo-Commit": COMMIT, "ETag": f'"{digest}"'}
        return Reply(headers=headers, body=self._files[name])

    def _tree(self) -> bytes:
        return self._json(
            [
                {"type": "file", "path": name, "size": len(content), "oid": "b" * 40}
                for name, content in self._files.items()
            ]
        )

    def _json(self, value: object) -> bytes:
        return json.dumps(value).encode()


def test_one_model_of_a_repository_is_downloaded_and_kept(
    tiny_directory: Path, tmp_path: Path
) -> None:
    small = {f"small/{path.name}": path.read_bytes() for path in tiny_directory.iterdir()}
    others = {
        "small/pytorch_model.bin": b"",
        "big/config.json": b"{}",
        "big/model.safetensors": b"",
    }
    hub = Hub(small | others | {"small/old/model.safetensors": b""})
    with web_server(hub) as server:
        directory, hint = find(
            [f"{REPOSITORY}/small", REPOSITORY], tmp_path, HF_ENDPOINT=server.url
        )
    assert {path.name for path in Path(directory).iterdir()} == {
        path.name for path in tiny_directory.iterdir()
    }
    assert sorted(hub.given) == sorted([*small, "big/config.json"])
    assert load_predictor(directory).model.config.tile_size == 56
    assert hint.startswith("CheckpointError")
    assert hint.endswith("has no config.json. Its folders big, small do: add one to the name.")

    assert find([f"{REPOSITORY}/small"], tmp_path, HF_HUB_OFFLINE="1") == [directory]


@pytest.mark.parametrize(
    "environment", [{"HF_HUB_OFFLINE": "1"}, {"HF_ENDPOINT": "http://127.0.0.1:9"}]
)
def test_hub_out_of_reach_is_an_error_within_seconds(
    environment: dict[str, str], tmp_path: Path
) -> None:
    start = time.monotonic()
    (error,) = find([REPOSITORY], tmp_path, **environment)
    assert error.startswith(
        "CheckpointError: 'owner/name' is no directory here and could not be downloaded"
    )
    assert time.monotonic() - start < 60


def test_directory_without_config_names_the_folders_that_have_one(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"has no config\.json\.$"):
        find_checkpoint(tmp_path)
    for name in ("SELF1E-8B", "SELF1E-2B"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.json").write_text("{}")
    with pytest.raises(CheckpointError, match="folders SELF1E-2B, SELF1E-8B do"):
        find_checkpoint(tmp_path)


@pytest.mark.parametrize("name", ["no-such-model", "./no/such", "/no/such", "~/no/such", "a//b"])
def test_unknown_name_says_what_may_be_given(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(CheckpointError, match=r"Give demo, a directory .* or a hub id"):
        find_checkpoint(name)
