"""The API's reader against a server that fails; a real one is in tests/integration."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from urllib.parse import parse_qs, urlsplit

import pytest
from pydantic import SecretStr

from backend import projects_api
from backend.errors import LabelStudioError
from backend.projects_api import ProjectsApi
from backend.settings import Settings
from tests.web_server import Reply, Request, WebServer, web_server

KEY = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(projects_api, "_PAUSES_SECONDS", (0.0, 0.0, 0.0))


@contextmanager
def api(answer: Callable[[Request], Reply]) -> Iterator[tuple[ProjectsApi, WebServer]]:
    with web_server(answer) as server:
        settings = Settings(label_studio_url=f"{server.url}/", label_studio_api_key=SecretStr(KEY))
        yield ProjectsApi(settings), server


def config(xml: object = "<View/>") -> Reply:
    return Reply(body=json.dumps({"label_config": xml}).encode())


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504])
def test_what_fails_for_a_moment_is_asked_again(status: int) -> None:
    failures = [status] * 3

    def answer(_: Request) -> Reply:
        return Reply(failures.pop()) if failures else config()

    with api(answer) as (reader, server):
        assert reader.label_config(4) == "<View/>"
    assert [request.target for request in server.requests] == ["/api/projects/4"] * 4
    assert {request.headers["Authorization"] for request in server.requests} == {f"Token {KEY}"}


def test_what_goes_on_failing_is_an_error() -> None:
    with (
        api(lambda _: Reply(503)) as (reader, server),
        pytest.raises(LabelStudioError, match="503 for /api/projects/4, again and again"),
    ):
        reader.label_config(4)
    assert len(server.requests) == 4


def test_a_server_that_hangs_up_is_asked_again() -> None:
    replies = [Reply(headers={"Content-Length": "1000"}, body=b"{"), config()]
    with api(lambda _: replies.pop(0)) as (reader, _server):
        assert reader.label_config(4) == "<View/>"


def test_a_server_that_is_away() -> None:
    with api(lambda _: config()) as (reader, _server):
        pass
    with pytest.raises(LabelStudioError, match="does not answer at http://127"):
        reader.label_config(4)


@pytest.mark.parametrize(
    ("reply", "says"),
    [
        (Reply(401), "401 for /api/projects/4: it refuses the API key"),
        (Reply(403), "403 .* may not see it"),
        (Reply(404), "404 .* no such project"),
        (Reply(302, {"Location": "http://127.0.0.1:1/"}), "302 .* is LABEL_STUDIO_URL its address"),
        (Reply(body=b"<html>"), "did not answer with JSON"),
        (Reply(body=b"[]"), "did not answer with JSON"),
        (config(None), "has no labeling config"),
    ],
)
def test_refusals_are_final(reply: Reply, says: str) -> None:
    with api(lambda _: reply) as (reader, server):
        with pytest.raises(LabelStudioError, match=says) as raised:
            reader.label_config(4)
        assert KEY not in str(raised.value)
    assert len(server.requests) == 1


def test_an_address_is_needed() -> None:
    with pytest.raises(LabelStudioError, match="LABEL_STUDIO_URL is not set"):
        ProjectsApi(Settings(label_studio_url=""))


def test_pages_go_on_after_the_last_task_whatever_annotators_do_meanwhile() -> None:
    ids = list(range(1, 26))

    def answer(request: Request) -> Reply:
        parameters = parse_qs(urlsplit(request.target).query)
        items = json.loads(parameters["query"][0])["filters"]["items"]
        limits = {item["filter"].rpartition(":")[2]: item["value"] for item in items}
        if "cancelled_annotations" in limits:
            return Reply(body=b'{"tasks": []}')
        size = int(parameters["page_size"][0])
        page = [{"id": id_} for id_ in ids if id_ > limits["id"]][:size]
        if ids[0] == 1:
            del ids[0]  # its annotation is deleted: a page number would skip a task now
        return Reply(body=json.dumps({"tasks": page}).encode())

    with api(answer) as (reader, server):
        read = [task["id"] for task in reader.annotated_tasks(4)]
    assert read == list(range(1, 26))
    assert all("project=4" in request.target for request in server.requests)


def test_an_answer_without_tasks() -> None:
    with (
        api(lambda _: Reply(body=b"{}")) as (reader, _server),
        pytest.raises(LabelStudioError, match="did not answer with tasks"),
    ):
        list(reader.annotated_tasks(4))
