"""The client against a web server that answers as Label Studio 1.23 does.

A real Label Studio is fetched from in tests/integration/test_label_studio_images.py.
"""

import base64
import json
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from backend.errors import ImageError, LabelStudioError
from backend.image_fetcher import FetchError
from backend.label_studio_files import LabelStudioFiles
from backend.settings import Settings
from tests.web_server import Reply, Request, WebServer, web_server

# The SDK's exchange of a personal access token uses it.
pytestmark = pytest.mark.filterwarnings("ignore:The `parse_obj` method is deprecated")

LEGACY_KEY = "0123456789abcdef0123456789abcdef01234567"
HOUR = 3600.0


def jwt(token_type: str, seconds: float, number: int = 0) -> str:
    """A token as Label Studio signs them, but for the signature."""
    payload = {"token_type": token_type, "exp": int(time.time() + seconds), "jti": str(number)}
    parts = [json.dumps(part).encode() for part in ({"alg": "HS256", "typ": "JWT"}, payload)]
    encoded = [base64.urlsafe_b64encode(part).rstrip(b"=").decode() for part in (*parts, b"?" * 32)]
    return ".".join(encoded)


class LabelStudio:
    """What a Label Studio answers that knows one key and has one picture."""

    def __init__(self, key: str, *, access_seconds: float = 300.0) -> None:
        self.key = key
        self.access_seconds = access_seconds
        self.picture = Reply(body=b"picture")
        self.exchange_reply: Reply | None = None
        self.access_tokens: list[str] = []
        self.url = ""
        self._lock = threading.Lock()

    def answer(self, request: Request) -> Reply:
        if request.target.endswith("/api/token/refresh/"):
            return self.exchange_reply or self._exchange(json.loads(request.body)["refresh"])
        valid = {f"Token {self.key}", *(f"Bearer {token}" for token in self.access_tokens[-1:])}
        return self.picture if request.headers.get("Authorization") in valid else Reply(401)

    def _exchange(self, refresh: str) -> Reply:
        if refresh != self.key:
            return Reply(401, body=b'{"detail": "Token is blacklisted"}')
        with self._lock:
            token = jwt("access", self.access_seconds, number=len(self.access_tokens))
            self.access_tokens.append(token)
        return Reply(body=json.dumps({"access": token}).encode())


@contextmanager
def serving(label_studio: LabelStudio) -> Iterator[WebServer]:
    with web_server(label_studio.answer) as server:
        yield server


def client(url: str = "", key: str = "", **settings: Any) -> LabelStudioFiles:
    return LabelStudioFiles(
        Settings(label_studio_url=url, label_studio_api_key=SecretStr(key), **settings)
    )


@pytest.mark.parametrize(
    ("value", "target"),
    [
        ("/data/upload/1/a%20b.png", "/data/upload/1/a%20b.png"),
        (" /data/upload/1/a b.png ", "/data/upload/1/a%20b.png"),
        ("/data/local-files/?d=dir/a.png", "/data/local-files/?d=dir/a.png"),
        ("/tasks/7/resolve/?fileuri=czM6Ly9i", "/tasks/7/resolve/?fileuri=czM6Ly9i"),
        ("{url}/data/upload/1/a.png", "/data/upload/1/a.png"),
        ("{url}/tasks/7/resolve/?fileuri=czM6Ly9i", "/tasks/7/resolve/?fileuri=czM6Ly9i"),
        ("s3://bucket/a.png", "/tasks/7/resolve/?fileuri=czM6Ly9idWNrZXQvYS5wbmc="),
        ("gs://bucket/ü?.png", "/tasks/7/resolve/?fileuri=Z3M6Ly9idWNrZXQvw7w_LnBuZw=="),
        ("azure-blob://c/a.png", "/tasks/7/resolve/?fileuri=YXp1cmUtYmxvYjovL2MvYS5wbmc="),
    ],
)
def test_label_studios_files_are_fetched_with_the_legacy_key(value: str, target: str) -> None:
    with serving(LabelStudio(LEGACY_KEY)) as server:
        images = client(server.url, LEGACY_KEY)
        assert images.fetch(value.format(url=server.url), task_id=7) == b"picture"
    (request,) = server.requests
    assert request.target == target
    assert request.headers["Authorization"] == f"Token {LEGACY_KEY}"


@pytest.mark.parametrize("value", ["/ls/data/upload/1/a.png", "/data/upload/1/a.png"])
@pytest.mark.parametrize("slash", ["", "/"])
@pytest.mark.parametrize("key", [LEGACY_KEY, jwt("refresh", HOUR)])
def test_label_studio_may_live_under_a_path_prefix(value: str, slash: str, key: str) -> None:
    with serving(LabelStudio(key)) as server:
        assert client(f"{server.url}/ls{slash}", key).fetch(value) == b"picture"
    assert all(request.target.startswith("/ls/") for request in server.requests)
    assert server.requests[-1].target == "/ls/data/upload/1/a.png"


def test_other_servers_do_not_get_the_key() -> None:
    label_studio = LabelStudio(LEGACY_KEY)
    with serving(label_studio) as server, web_server(lambda _: Reply(body=b"other")) as other:
        images = client(server.url, LEGACY_KEY, private_image_hosts=other.address)
        assert images.fetch(f"{other.url}/data/upload/1/a.png") == b"other"
        label_studio.picture = Reply(303, {"Location": f"{other.url}/a.png?X-Signature=1"})
        assert images.fetch("s3://bucket/a.png", task_id="7") == b"other"
    assert [request.headers.get("Authorization") for request in other.requests] == [None, None]


def test_a_storage_that_refuses_is_named_and_its_signature_is_not() -> None:
    label_studio = LabelStudio(LEGACY_KEY)
    with serving(label_studio) as server, web_server(lambda _: Reply(403)) as storage:
        label_studio.picture = Reply(303, {"Location": f"{storage.url}/a.png?X-Signature=c0ffee"})
        images = client(server.url, LEGACY_KEY, private_image_hosts=storage.address)
        with pytest.raises(FetchError, match=f"{storage.url}/a.png answered 403") as caught:
            images.fetch("s3://bucket/a.png", task_id=7)
    assert "c0ffee" not in str(caught.value)


def test_a_storage_with_a_private_address_must_be_listed() -> None:
    label_studio = LabelStudio(LEGACY_KEY)
    label_studio.picture = Reply(303, {"Location": "http://10.0.0.1/a.png"})
    with (
        serving(label_studio) as server,
        pytest.raises(ImageError, match="SELF1E_PRIVATE_IMAGE_HOSTS"),
    ):
        client(server.url, LEGACY_KEY).fetch("s3://bucket/a.png", task_id=7)


def test_a_moved_label_studio_is_reported() -> None:
    """The key must not follow: the new address may be anybody's."""
    with web_server(lambda _: Reply(401)) as moved:
        label_studio = LabelStudio(LEGACY_KEY)
        label_studio.picture = Reply(301, {"Location": f"{moved.url}/data/upload/1/a.png"})
        with serving(label_studio) as server:
            images = client(server.url, LEGACY_KEY, private_image_hosts=moved.address)
            with pytest.raises(LabelStudioError, match=f"set LABEL_STUDIO_URL to {moved.url}"):
                images.fetch("/data/upload/1/a.png")


def test_a_personal_access_token_is_exchanged_once() -> None:
    key = jwt("refresh", HOUR)
    label_studio = LabelStudio(key)
    with serving(label_studio) as server:
        images = client(server.url, key)
        with ThreadPoolExecutor(8) as threads:
            fetched = list(
                threads.map(images.fetch, [f"/data/upload/1/{n}.png" for n in range(16)])
            )
    assert fetched == [b"picture"] * 16
    assert len(label_studio.access_tokens) == 1
    sent = [request.headers.get("Authorization") for request in server.requests[1:]]
    assert sent == [f"Bearer {label_studio.access_tokens[0]}"] * 16


def test_an_expired_access_token_is_exchanged_again() -> None:
    key = jwt("refresh", HOUR)
    label_studio = LabelStudio(key, access_seconds=-1)
    with serving(label_studio) as server:
        images = client(server.url, key)
        for count in (1, 2):
            assert images.fetch("/data/upload/1/a.png") == b"picture"
            assert len(label_studio.access_tokens) == count


def test_a_refused_access_token_is_exchanged_again_once() -> None:
    """The server's clock may be ahead of ours, or the token revoked."""
    key = jwt("refresh", HOUR)
    label_studio = LabelStudio(key)
    with serving(label_studio) as server:
        images = client(server.url, key)
        images.fetch("/data/upload/1/a.png")
        label_studio.access_tokens.append("revoked the first")
        assert images.fetch("/data/upload/1/a.png") == b"picture"
        label_studio.picture = Reply(401)
        with pytest.raises(LabelStudioError, match=r"answered 401 .*refuses the API key"):
            images.fetch("/data/upload/1/a.png")
    assert len(label_studio.access_tokens) == 4


@pytest.mark.parametrize("key", ["wrong", jwt("refresh", HOUR, number=9), jwt("refresh", -1)])
def test_a_key_that_is_not_valid_is_reported(key: str) -> None:
    with (
        serving(LabelStudio(LEGACY_KEY)) as server,
        pytest.raises(LabelStudioError, match=r"LABEL_STUDIO_API_KEY.*token") as caught,
    ):
        client(server.url, key).fetch("/data/upload/1/a.png")
    assert key not in str(caught.value)


@pytest.mark.parametrize(
    "reply",
    [
        Reply(302, {"Location": "/user/login"}),
        Reply(200, body=b"<html>"),
        Reply(200, body=b"{}"),
        Reply(502, body=b"<html>"),
    ],
)
def test_a_server_that_is_no_label_studio_is_reported(reply: Reply) -> None:
    key = jwt("refresh", HOUR)
    label_studio = LabelStudio(key)
    label_studio.exchange_reply = reply
    with serving(label_studio) as server:
        with pytest.raises(LabelStudioError, match=r"/api/token/refresh/ .*LABEL_STUDIO_URL"):
            client(server.url, key).fetch("/data/upload/1/a.png")
        assert len(server.requests) == 1


@pytest.mark.parametrize("key", ["Token x", "a\r\nX-Header: b", "ключ"])
def test_a_key_that_cannot_be_one_is_not_sent(key: str) -> None:
    with serving(LabelStudio(key)) as server:
        with pytest.raises(LabelStudioError, match="no key has") as caught:
            client(server.url, key).fetch("/data/upload/1/a.png")
        assert not server.requests
    assert key not in str(caught.value)


@pytest.mark.parametrize("value", ["/data/upload/1/a.png", "s3://bucket/a.png"])
def test_missing_settings_are_named(value: str) -> None:
    with pytest.raises(LabelStudioError, match=r"set LABEL_STUDIO_URL and LABEL_STUDIO_API_KEY"):
        client().fetch(value, task_id=7)
    with pytest.raises(LabelStudioError, match=r"set LABEL_STUDIO_API_KEY"):
        client("http://127.0.0.1:1").fetch(value, task_id=7)


def test_other_servers_need_no_label_studio() -> None:
    with web_server(lambda _: Reply(body=b"other")) as other:
        images = client(private_image_hosts=other.address)
        assert images.fetch(f"{other.url}/a.png") == b"other"


@pytest.mark.parametrize("task_id", [None, "", "7/../8", "-1", "seven"])
def test_a_storages_image_needs_a_saved_task(task_id: str | None) -> None:
    with pytest.raises(LabelStudioError, match=r"s3://bucket/a\.png .* no task id"):
        client("http://127.0.0.1:1", LEGACY_KEY).fetch("s3://bucket/a.png", task_id=task_id)


@pytest.mark.parametrize("value", ["", "//127.0.0.1/a.png", "data/a.png", "file:///a", "s3:a"])
def test_what_is_no_image_address_is_refused(value: str) -> None:
    with pytest.raises(ImageError, match="is not fetched"):
        client("http://127.0.0.1:1", LEGACY_KEY).fetch(value, task_id=7)


@pytest.mark.parametrize(
    ("status", "says"),
    [(403, "add that user"), (404, "no such file"), (500, "its log"), (424, "log")],
)
def test_statuses_are_explained(status: int, says: str) -> None:
    label_studio = LabelStudio(LEGACY_KEY)
    label_studio.picture = Reply(status)
    with (
        serving(label_studio) as server,
        pytest.raises(LabelStudioError, match=f"answered {status} for /data/.*{says}") as caught,
    ):
        client(server.url, LEGACY_KEY).fetch("/data/local-files/?d=secret/a.png")
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("key", [LEGACY_KEY, jwt("refresh", HOUR)])
def test_a_label_studio_that_is_not_there_is_reported(key: str) -> None:
    with web_server(lambda _: Reply()) as gone:
        url = gone.url
    with pytest.raises(LabelStudioError, match=url):
        client(url, key).fetch("/data/upload/1/a.png")


@pytest.mark.parametrize("key", [LEGACY_KEY, jwt("refresh", HOUR)])
def test_a_label_studio_that_hangs_is_given_up(key: str) -> None:
    def hang(_: Request) -> Reply:
        server.stopping.wait()
        return Reply()

    with (
        web_server(hang) as server,
        pytest.raises(LabelStudioError, match=r"within 0\.2 seconds|ReadTimeout"),
    ):
        client(server.url, key, image_timeout=0.2).fetch("/data/upload/1/a.png")


@pytest.fixture
def local_files_root(tmp_path: Path) -> Path:
    root = tmp_path / "root"
    (root / "dir").mkdir(parents=True)
    (root / "dir" / "a b+c.png").write_bytes(b"local picture")
    (root / "large.png").write_bytes(bytes((1 << 20) + 1))
    (root / "link.png").symlink_to(tmp_path / "outside.png")
    (root / "inner.png").symlink_to(root / "dir" / "a b+c.png")
    (tmp_path / "outside.png").write_bytes(b"secret")
    (tmp_path / "root-2").mkdir()
    (tmp_path / "root-2" / "a.png").write_bytes(b"secret")
    return root


@pytest.mark.parametrize(
    "query",
    [
        "d=dir/a%20b%2Bc.png",
        "d=dir%2Fa+b%2Bc.png",
        "d=/dir/a%20b%2Bc.png",
        "d=dir/../dir/./a%20b%2Bc.png",
        "d=nothing&d=dir/a%20b%2Bc.png",
        "d=inner.png",
    ],
)
@pytest.mark.parametrize("path", ["/data/local-files/", "/data/local-files"])
def test_local_files_are_read_from_the_disk(local_files_root: Path, path: str, query: str) -> None:
    images = client(local_files_root=str(local_files_root))
    assert images.fetch(f"{path}?{query}") == b"local picture"


@pytest.mark.parametrize(
    "name",
    [
        "../outside.png",
        "/../outside.png",
        "dir/../../outside.png",
        "%2e%2e/outside.png",
        "..%2foutside.png",
        "../root-2/a.png",
        "link.png",
        "/etc/passwd",
        "%2fetc%2fpasswd",
        "~/a.png",
        "",
        ".",
        "dir",
        "none.png",
        "a%00.png",
        "x" * 300,
    ],
)
def test_nothing_else_is_read_from_the_disk(local_files_root: Path, name: str) -> None:
    with pytest.raises(LabelStudioError, match=r"no file|cannot be read"):
        client(local_files_root=str(local_files_root)).fetch(f"/data/local-files/?d={name}")


def test_a_large_local_file_is_refused(local_files_root: Path) -> None:
    images = client(local_files_root=str(local_files_root), max_image_mb=1)
    with pytest.raises(ImageError, match=r"more than 1 MiB.*SELF1E_MAX_IMAGE_MB"):
        images.fetch("/data/local-files/?d=large.png")
