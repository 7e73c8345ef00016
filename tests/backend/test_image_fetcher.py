"""Fetching image files from a real web server, within limits."""

import socket
import ssl
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from backend.errors import ImageError, LabelStudioError
from backend.image_fetcher import FetchError, ImageFetcher
from backend.outbound import Deadline, Origin, is_public, open_connection
from backend.settings import Settings
from tests.web_server import Reply, Request, WebServer, web_server

TLS = ssl.create_default_context()
SECRET = "X-Signature=c0ffee"


def fetcher(private_image_hosts: str = "127.0.0.1", **settings: Any) -> ImageFetcher:
    return ImageFetcher(Settings(private_image_hosts=private_image_hosts, **settings))


@pytest.fixture
def picture_server() -> Iterator[WebServer]:
    with web_server(lambda _: Reply(body=b"picture")) as server:
        yield server


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A self-signed certificate for 127.0.0.1, with its key."""
    directory = tmp_path_factory.mktemp("certificate")
    parts = [directory / "key.pem", directory / "certificate.pem"]
    command = (
        "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 "
        "-subj /CN=test -addext subjectAltName=IP:127.0.0.1"
    )
    subprocess.run(
        [*command.split(), "-keyout", str(parts[0]), "-out", str(parts[1])],
        check=True,
        capture_output=True,
    )
    both = directory / "both.pem"
    both.write_text("".join(part.read_text() for part in parts))
    return both


def test_a_file_is_fetched_without_any_credentials(picture_server: WebServer) -> None:
    assert fetcher().fetch(f"{picture_server.url}/a/b.png?{SECRET}") == b"picture"
    (request,) = picture_server.requests
    assert (request.method, request.target) == ("GET", f"/a/b.png?{SECRET}")
    assert request.headers["Host"] == picture_server.address
    assert not {"authorization", "cookie"} & {name.lower() for name in request.headers}


@pytest.mark.parametrize(
    ("written", "sent"),
    [
        ("", "/"),
        ("/a b/é.png?x=ü#part", "/a%20b/%C3%A9.png?x=%C3%BC"),
        ("/a%20b%2Fc.png", "/a%20b%2Fc.png"),
        ("/\ud800.png", "/?.png"),  # half a character, which JSON may hold
        ("?d=1", "/?d=1"),
    ],
)
def test_urls_are_sent_as_browsers_send_them(
    picture_server: WebServer, written: str, sent: str
) -> None:
    fetcher().fetch(picture_server.url + written)
    assert picture_server.requests[0].target == sent


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize("location", ["/there.png", "there.png", "{url}/there.png"])
def test_redirects_are_followed(status: int, location: str) -> None:
    def answer(request: Request) -> Reply:
        if request.target == "/there.png":
            return Reply(body=b"picture")
        return Reply(status, {"Location": location.format(url=server.url)})

    with web_server(answer) as server:
        assert fetcher().fetch(f"{server.url}/here.png") == b"picture"


def test_redirects_without_end_are_refused() -> None:
    with web_server(lambda _: Reply(302, {"Location": f"/again?{SECRET}"})) as server:
        with pytest.raises(FetchError, match="more than 5 redirects") as caught:
            fetcher().fetch(server.url)
        assert len(server.requests) == 6
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1",
        "localhost",
        "LOCALHOST",
        "2130706433",
        "0x7f.1",
        "0.0.0.0",
        "[::1]",
        "[::ffff:127.0.0.1]",
        "[64:ff9b::7f00:1]",
        "[2002:7f00:1::]",
        "[fe80::1]",
        "[fd00::1]",
        "[4000::1]",
        "10.0.0.1",
        "172.16.0.1",
        "192.168.0.1",
        "100.64.0.1",
        "169.254.169.254",
        "224.0.0.1",
        "255.255.255.255",
    ],
)
def test_private_addresses_are_not_even_connected_to(picture_server: WebServer, host: str) -> None:
    port = Origin.of(picture_server.url).port
    with pytest.raises(ImageError, match=r"private address .*SELF1E_PRIVATE_IMAGE_HOSTS") as caught:
        fetcher("").fetch(f"http://{host}:{port}/a.png?{SECRET}")
    assert not picture_server.requests
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize(
    "address", ["8.8.8.8", "2606:4700::1111", "64:ff9b::808:808", "::ffff:8.8.8.8"]
)
def test_public_addresses_are_public(address: str) -> None:
    assert is_public(address)


def test_a_private_host_may_be_listed_with_or_without_its_port(picture_server: WebServer) -> None:
    port = Origin.of(picture_server.url).port
    for hosts in ("localhost", f"other, LocalHost:{port}"):
        assert fetcher(hosts).fetch(f"http://localhost:{port}/") == b"picture"
    with pytest.raises(ImageError, match="private address"):
        fetcher(f"localhost:{port + 1}").fetch(f"http://localhost:{port}/")


def test_label_studio_is_allowed_but_nothing_else_on_its_host(picture_server: WebServer) -> None:
    with web_server(lambda _: Reply(body=b"uploaded")) as label_studio:
        images = fetcher("", label_studio_url=label_studio.url)
        assert images.fetch(label_studio.url) == b"uploaded"
        with pytest.raises(ImageError, match="private address"):
            images.fetch(picture_server.url)


def test_a_label_studio_url_without_scheme_is_reported() -> None:
    with pytest.raises(LabelStudioError, match="LABEL_STUDIO_URL is not a URL such as http://"):
        fetcher("", label_studio_url="localhost:8080")


@pytest.mark.parametrize(
    "target",
    [
        "http://169.254.169.254/",
        "http://localhost:1/",
        "file:///etc/passwd",
        "ftp://127.0.0.1/a",
        "http://[::1",
        "http://a:b/",
    ],
)
def test_redirects_are_checked_like_the_first_url(target: str) -> None:
    with (
        web_server(lambda _: Reply(302, {"Location": target})) as server,
        pytest.raises(ImageError, match=r"private address|is not fetched|no address"),
    ):
        fetcher().fetch(server.url)


def test_the_connection_goes_to_the_checked_address_whatever_the_name_says(
    picture_server: WebServer,
) -> None:
    """A name that resolves to another address after the check (DNS rebinding) is no way in."""
    origin = Origin("http", "rebinding.invalid", Origin.of(picture_server.url).port)
    with open_connection(origin, ["127.0.0.1"], Deadline(5), TLS) as connection:
        connection.request("GET", "/")
        with connection.getresponse() as response:
            assert response.read() == b"picture"
    assert picture_server.requests[0].headers["Host"] == f"rebinding.invalid:{origin.port}"


def test_an_address_that_refuses_leaves_the_others(picture_server: WebServer) -> None:
    origin = Origin.of(picture_server.url)
    with open_connection(origin, ["127.0.0.2", "::1", "127.0.0.1"], Deadline(5), TLS) as connection:
        connection.request("GET", "/")
        with connection.getresponse() as response:
            assert response.status == 200


@pytest.mark.parametrize(
    "url",
    [
        "file:///etc/passwd",
        "ftp://example.com/a.png",
        "data:image/png;base64,c0ffee",
        "gopher://example.com/",
        "//example.com/a.png",
        "/data/upload/1/a.png",
        "a.png",
        "",
        "http://",
        "http://[::1",
        "http://example.com:99999/",
        "http://a..b/",
    ],
)
def test_other_urls_are_refused(url: str) -> None:
    with pytest.raises(ImageError, match="is not fetched: ") as caught:
        fetcher().fetch(url)
    assert "c0ffee" not in str(caught.value)


@pytest.mark.parametrize(
    ("status", "says"),
    [(401, "credentials"), (403, "denies access"), (404, "no such file"), (503, "Unavailable")],
)
def test_statuses_are_explained(status: int, says: str) -> None:
    with (
        web_server(lambda _: Reply(status, body=b"secret page")) as server,
        pytest.raises(FetchError, match=f"answered {status}: .*{says}") as caught,
    ):
        fetcher().fetch(f"{server.url}/a.png?{SECRET}")
    assert caught.value.http_status == status
    assert caught.value.origin == Origin.of(server.url)
    assert f"{server.url}/a.png" in str(caught.value)
    assert SECRET not in str(caught.value)


def test_a_server_that_is_not_there_is_reported() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}/a.png"
        with pytest.raises(FetchError, match=f"{url} cannot be fetched: .*refused") as caught:
            fetcher().fetch(f"{url}?{SECRET}")
    assert caught.value.http_status is None
    assert SECRET not in str(caught.value)


def test_a_name_that_is_not_there_is_reported() -> None:
    with pytest.raises(FetchError, match=r"nowhere\.invalid/ cannot be fetched: "):
        fetcher().fetch("http://nowhere.invalid/")


MEBIBYTE = bytes(1 << 20)


def test_a_file_of_exactly_the_limit_is_fetched() -> None:
    with web_server(lambda _: Reply(body=MEBIBYTE)) as server:
        assert fetcher(max_image_mb=1).fetch(server.url) == MEBIBYTE


def test_a_file_that_declares_more_is_refused_at_once() -> None:
    with (
        web_server(lambda _: Reply(headers={"Content-Length": str(1 << 40)})) as server,
        pytest.raises(ImageError, match=r"more than 1 MiB.*SELF1E_MAX_IMAGE_MB"),
    ):
        fetcher(max_image_mb=1).fetch(server.url)


def test_a_file_that_hides_its_size_is_cut_off() -> None:
    def endless() -> Iterator[bytes]:
        while not server.stopping.is_set():
            yield MEBIBYTE

    with (
        web_server(lambda _: Reply(body=endless())) as server,
        pytest.raises(ImageError, match="more than 1 MiB"),
    ):
        fetcher(max_image_mb=1).fetch(server.url)


def test_a_file_that_breaks_off_is_refused() -> None:
    with (
        web_server(
            lambda _: Reply(headers={"Content-Length": "9"}, body=iter([b"pict"]))
        ) as server,
        pytest.raises(FetchError, match="broke off after 4 of 9 bytes"),
    ):
        fetcher().fetch(server.url)


def test_a_compressed_file_is_refused() -> None:
    with (
        web_server(lambda _: Reply(headers={"Content-Encoding": "gzip"}, body=b"?")) as server,
        pytest.raises(FetchError, match="compressed"),
    ):
        fetcher().fetch(server.url)


@pytest.mark.parametrize("declared", [{}, {"Content-Length": "1000"}])
@pytest.mark.parametrize("secure", [False, True])
def test_a_server_that_drips_is_cut_off(
    declared: dict[str, str], secure: bool, certificate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each byte is in time, all of them are not."""
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))

    def drip() -> Iterator[bytes]:
        while not server.stopping.wait(0.02):
            yield b"."

    with (
        web_server(
            lambda _: Reply(headers=declared, body=drip()), certificate if secure else None
        ) as server,
        pytest.raises(FetchError, match=r"within 0\.3 seconds.*SELF1E_IMAGE_TIMEOUT"),
    ):
        fetcher(image_timeout=0.3).fetch(server.url)


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_server_that_never_answers_is_given_up(scheme: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"{scheme}://127.0.0.1:{silent.getsockname()[1]}/"
        with pytest.raises(FetchError, match=r"within 0\.3 seconds"):
            fetcher(image_timeout=0.3).fetch(url)


def test_a_fetch_leaves_no_thread_behind(picture_server: WebServer) -> None:
    fetcher(image_timeout=60).fetch(picture_server.url)
    watching = [thread for thread in threading.enumerate() if isinstance(thread, threading.Timer)]
    for thread in watching:
        thread.join(timeout=10)
    assert not any(thread.is_alive() for thread in watching)


def test_redirects_share_one_deadline() -> None:
    def answer(_: Request) -> Reply:
        server.stopping.wait(0.2)
        return Reply(302, {"Location": "/again"})

    with (
        web_server(answer) as server,
        pytest.raises(FetchError, match=r"within 0\.5 seconds"),
    ):
        fetcher(image_timeout=0.5).fetch(server.url)


def test_credentials_stay_with_the_first_server() -> None:
    """Also when another server sends the request back to the first one."""

    def first_answer(request: Request) -> Reply:
        targets = {"/": "/same", "/same": f"{second.url}/other"}
        if request.target in targets:
            return Reply(302, {"Location": targets[request.target]})
        return Reply(body=b"picture")

    with (
        web_server(first_answer) as first,
        web_server(lambda _: Reply(302, {"Location": f"{first.url}/back"})) as second,
    ):
        assert fetcher().fetch(first.url, authorization="Token t") == b"picture"
    sent = [(r.target, r.headers.get("Authorization")) for r in first.requests + second.requests]
    assert sent == [("/", "Token t"), ("/same", "Token t"), ("/back", None), ("/other", None)]


def test_https_with_a_trusted_certificate(
    certificate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    with web_server(lambda _: Reply(body=b"picture"), certificate) as server:
        assert fetcher().fetch(f"{server.url}/a.png") == b"picture"
        other_name = server.url.replace("127.0.0.1", "localhost")
        with pytest.raises(FetchError, match="certificate"):
            fetcher("localhost").fetch(other_name)
        assert len(server.requests) == 1


def test_https_with_an_unknown_certificate_is_refused(certificate: Path) -> None:
    with web_server(lambda _: Reply(body=b"picture"), certificate) as server:
        with pytest.raises(FetchError, match="certificate"):
            fetcher().fetch(server.url)
        assert not server.requests
