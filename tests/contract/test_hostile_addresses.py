"""Image addresses that lead where they should not, however they are written.

Nothing here connects to anything but this machine: names resolve as the test says.
"""

import socket
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from pydantic import SecretStr

from backend.errors import BackendError, ImageError
from backend.image_fetcher import ImageFetcher
from backend.label_studio_files import LabelStudioFiles
from backend.outbound import is_public
from backend.settings import Settings
from tests.web_server import Reply, web_server

KEY = "0123456789abcdef0123456789abcdef01234567"


class Names:
    """Stands in for the system's resolver; what is written as an address is that address."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.answers: dict[str, list[list[str]]] = {}
        self.asked: list[str] = []
        self._resolve = socket.getaddrinfo
        monkeypatch.setattr(socket, "getaddrinfo", self._answer)

    def _answer(self, host: str, port: int, *arguments: Any, **options: Any) -> Any:
        if host not in self.answers:
            options["flags"] = socket.AI_NUMERICHOST
            return self._resolve(host, port, *arguments, **options)
        self.asked.append(host)
        times = self.asked.count(host) - 1
        addresses = self.answers[host][min(times, len(self.answers[host]) - 1)]
        return [entry for each in addresses for entry in self._answer(each, port, type=1)]


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> Names:
    return Names(monkeypatch)


@pytest.mark.parametrize(
    "address",
    [
        "0.0.0.0",
        "0.1.2.3",
        "10.1.2.3",
        "100.127.255.255",
        "127.255.255.254",
        "168.63.129.16",
        "169.254.169.254",
        "172.31.255.255",
        "192.0.0.192",
        "192.0.2.1",
        "192.168.255.255",
        "198.18.0.1",
        "198.51.100.1",
        "203.0.113.1",
        "224.0.0.1",
        "239.255.255.255",
        "240.0.0.1",
        "255.255.255.255",
        "::",
        "::1",
        "::7f00:1",
        "::ffff:10.1.2.3",
        "::ffff:168.63.129.16",
        "::ffff:0:7f00:1",
        "64:ff9b::a9fe:a9fe",
        "64:ff9b:1::7f00:1",
        "100::1",
        "2001:0:7f00:1::",
        "2001:db8::1",
        "2002:a9fe:a9fe::1",
        "fc00::1",
        "fd00:ec2::254",
        "fe80::1",
        "fe80::1%1",
        "fec0::1",
        "ff02::1",
    ],
)
def test_addresses_that_are_not_public(address: str) -> None:
    assert not is_public(address)


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1",
        "0177.0.0.1",
        "017700000001",
        "0x7f000001",
        "0x7f.0.0.1",
        "2130706433",
        "127.1",
        "0",
        "①②⑦.0.0.1",
        "127。0。0。1",
        "user:word@127.0.0.1",
        "8.8.8.8@127.0.0.1",
        "8.8.8.8\\@127.0.0.1",
        "[fe80::1%1]",
        "[::ffff:127.0.0.1]",
    ],
)
def test_ways_to_write_a_private_host(names: Names, host: str) -> None:
    with pytest.raises(ImageError, match="private address") as caught:
        ImageFetcher(Settings()).fetch(f"http://{host}:1/a.png")
    assert "word" not in str(caught.value)


def test_a_name_with_one_private_address_is_refused(names: Names) -> None:
    names.answers = {"images.test": [["8.8.8.8", "10.0.0.1"]]}
    with pytest.raises(ImageError, match=r"private address 10\.0\.0\.1"):
        ImageFetcher(Settings()).fetch("http://images.test/a.png")


def test_a_redirect_to_a_name_of_a_private_address_is_refused(names: Names) -> None:
    names.answers = {"inside.test": [["169.254.169.254"]]}
    redirect = Reply(302, {"Location": "http://inside.test/latest/meta-data/"})
    with (
        web_server(lambda _: redirect) as server,
        pytest.raises(ImageError, match=r"private address 169\.254\.169\.254"),
    ):
        ImageFetcher(Settings(private_image_hosts="127.0.0.1")).fetch(server.url)


def test_a_name_is_resolved_once_for_the_check_and_the_connection(names: Names) -> None:
    """DNS rebinding: the second answer would be another machine."""
    names.answers = {"rebinding.test": [["127.0.0.1"], ["127.0.0.2"]]}
    with web_server(lambda _: Reply(body=b"checked")) as server:
        port = server.url.rpartition(":")[2]
        images = ImageFetcher(Settings(private_image_hosts="rebinding.test"))
        assert images.fetch(f"http://rebinding.test:{port}/") == b"checked"
    assert names.asked == ["rebinding.test"]


def test_credentials_in_an_address_are_not_sent() -> None:
    with web_server(lambda _: Reply(body=b"picture")) as server:
        images = ImageFetcher(Settings(private_image_hosts="127.0.0.1"))
        images.fetch(server.url.replace("//", "//user:word@"))
    (request,) = server.requests
    assert "word" not in str(request)
    assert "Authorization" not in request.headers


def test_the_api_key_goes_to_the_configured_port_only() -> None:
    with web_server(lambda _: Reply(body=b"own")) as own, web_server(lambda _: Reply()) as other:
        images = LabelStudioFiles(
            Settings(
                label_studio_url=own.url,
                label_studio_api_key=SecretStr(KEY),
                private_image_hosts="127.0.0.1",
            )
        )
        images.fetch(f"{own.url}/a.png")
        images.fetch(f"{other.url}/a.png")
        images.fetch(f"{other.url}/{own.url}/a.png")
        images.fetch(other.url.replace("//", f"//{own.address}@") + "/a.png")
    assert [request.headers.get("Authorization") for request in own.requests] == [f"Token {KEY}"]
    assert len(other.requests) == 3
    assert KEY not in str(other.requests)


ADDRESSES = st.tuples(
    st.sampled_from(["http://", "https://", "file:", "//", "s3://", "/data/local-files/?d=", ""]),
    st.text(st.characters(codec=None), max_size=12) | st.sampled_from(["[", "a:b", "[::1", "\0"]),
    st.sampled_from(["", "/", "?", "/..%2f", ":99999", "@", "#"]),
).map("".join)


@settings(
    derandomize=True,
    deadline=None,
    max_examples=300,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(ADDRESSES)
@example("http://[v1.x]/")
@example("http://a\0b/")
@example("/data/local-files/?d=\ud800")
def test_any_address_is_refused_with_a_reason(
    monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory, url: str
) -> None:
    def resolve(*_: Any, **__: Any) -> list[Any]:
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("10.0.0.1", 80))]

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    images = LabelStudioFiles(Settings(local_files_root=str(tmp_path_factory.getbasetemp())))
    with pytest.raises(BackendError):
        images.fetch(url, task_id=1)


@pytest.mark.parametrize("length", ["9" * 5000, "1" + "0" * 25])
def test_a_length_beyond_all_bounds_is_no_length(length: str) -> None:
    with (
        web_server(lambda _: Reply(headers={"Content-Length": length})) as server,
        pytest.raises(ImageError, match="more than 1 MiB"),
    ):
        ImageFetcher(Settings(private_image_hosts="127.0.0.1", max_image_mb=1)).fetch(server.url)


def test_what_is_more_than_its_length_is_cut() -> None:
    reply = Reply(headers={"Content-Length": "4"}, body=iter([b"picture"]))
    with web_server(lambda _: reply) as server:
        assert ImageFetcher(Settings(private_image_hosts="127.0.0.1")).fetch(server.url) == b"pict"


@pytest.mark.parametrize("length", ["-1", "x", "1e3", "4, 4"])
def test_a_length_that_is_none_is_ignored(length: str) -> None:
    reply = Reply(headers={"Content-Length": length}, body=iter([b"picture"]))
    with web_server(lambda _: reply) as server:
        images = ImageFetcher(Settings(private_image_hosts="127.0.0.1"))
        assert images.fetch(server.url) == b"picture"
