"""Whatever is sent, the answer is a reply of the protocol: nothing from outside makes a 500."""

import json
import time
from collections.abc import Iterator
from typing import Any

import pytest
from fastapi.testclient import TestClient
from hypothesis import HealthCheck, given
from hypothesis import settings as examples
from hypothesis import strategies as st

from backend.app import create_app
from backend.queue import JobQueue
from backend.settings import Settings
from tests.integration.conftest import StartWorker

pytestmark = pytest.mark.timeout(300)

SECONDS = 30  # longest answer; generous, for slow machines
CONFIG = """\
<View>
  <Image name="image" value="$image"/>
  <TextArea name="prompt" toName="image" value="$prompt"/>
  <Number name="threshold" toName="image"/>
  <Choices name="mode" toName="image"><Choice value="each"/></Choices>
  <BrushLabels name="mask" toName="image" value="$labels"><Label value="car"/></BrushLabels>
</View>"""
RESULTS = [
    {"from_name": "prompt", "type": "textarea", "value": {"text": ["the car"]}},
    {"from_name": "threshold", "type": "number", "value": {"number": 0.5}},
    {"from_name": "mode", "type": "choices", "value": {"choices": ["each"]}},
]
PREDICT: dict[str, Any] = {
    "tasks": [
        {"id": 1, "data": {"image": "http://images.test/1.png", "prompt": "x", "labels": ["a"]}}
    ],
    "project": "1.1795344895",
    "label_config": CONFIG,
    "params": {"login": None, "password": None, "context": {"result": RESULTS}},
}

few = examples(
    derandomize=True,
    database=None,
    deadline=None,
    max_examples=100,
    suppress_health_check=list(HealthCheck),
)


@pytest.fixture
def settings(settings: Settings) -> Settings:
    return settings.model_copy(update={"predict_timeout": 1.0, "max_image_mb": 1})


@pytest.fixture
def client(settings: Settings, queue: JobQueue, start_worker: StartWorker) -> Iterator[TestClient]:
    start_worker()
    app = create_app(settings, queue)
    with TestClient(app, raise_server_exceptions=False, follow_redirects=False) as client:
        yield client


def post(client: TestClient, path: str, body: str | bytes) -> int:
    """The status of the reply, which comes in time and is an error in the usual form, or none."""
    start = time.monotonic()
    content = body if isinstance(body, bytes) else body.encode(errors="surrogatepass")
    reply = client.post(path, content=content)
    assert time.monotonic() - start < SECONDS
    assert reply.status_code in {200, 400}, reply.text
    if reply.status_code == 400:
        assert reply.json().keys() == {"error", "detail", "request_id"}
    return reply.status_code


TEXTS = st.text(st.characters(codec=None), max_size=20) | st.sampled_from(
    ["\ud800", "\0", "x" * 10**5]
)
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.sampled_from([10**400, -(10**4000), 1e308, float("nan"), float("inf"), -0.0])
    | TEXTS
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4),
    max_leaves=8,
)


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The paths to all that is in a JSON value."""
    inner: dict[Any, Any] = {}
    if isinstance(value, dict):
        inner = value
    elif isinstance(value, list):
        inner = dict(enumerate(value))
    return [path, *(each for key in inner for each in places(inner[key], (*path, key)))]


def replaced(value: Any, path: tuple[Any, ...], new: Any) -> Any:
    if not path:
        return new
    copy = value.copy()
    copy[path[0]] = replaced(value[path[0]], path[1:], new)
    return copy


def test_wrong_values_anywhere_are_answered(client: TestClient) -> None:
    seen = set()

    @few
    @given(st.sampled_from(places(PREDICT)), VALUES, st.booleans(), st.booleans())
    def check(path: tuple[Any, ...], value: Any, escaped: bool, batch: bool) -> None:
        body = replaced(PREDICT, path, value)
        if batch and isinstance(body, dict) and isinstance(body.get("params"), dict):
            body = body | {"params": body["params"] | {"context": None}}
        seen.add(post(client, "/predict", json.dumps(body, ensure_ascii=escaped)))

    check()
    assert seen == {200, 400}


def many_results(count: int) -> str:
    results = [{"from_name": "other", "value": {"text": ["x"]}}] * count + RESULTS
    return json.dumps(replaced(PREDICT, ("params", "context", "result"), results))


def nested(depth: int) -> str:
    deep = "[" * depth + "]" * depth
    return json.dumps(PREDICT).replace('"x"', deep)


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (many_results(100_000), 200),
        (nested(100_000), 400),
        (json.dumps(PREDICT).replace('"id": 1', '"id": 1, "id": 2'), 200),
        (json.dumps(PREDICT).replace('"id": 1', f'"id": {"9" * 100_000}'), 400),
        (json.dumps(PREDICT).encode("utf-16"), 400),
        (json.dumps(PREDICT).encode() + b"\xff", 400),
        (json.dumps(PREDICT).replace('"x"', '"\\ud800"'), 400),
        ('{"rle":[' * 100_000, 400),
        ('"rle"' + " " * 10**6 + '"rle":[' + "1," * 10**6, 400),
    ],
    ids=lambda value: str(value)[:20] if isinstance(value, str) else None,
)
def test_extreme_bodies_are_answered(client: TestClient, body: str | bytes, status: int) -> None:
    assert post(client, "/predict", body) == status


NAMES = st.sampled_from(
    ["View", "Image", "TextArea", "BrushLabels", "Labels", "Brush", "Label", "Number", "Choices"]
)
ATTRIBUTES = st.dictionaries(
    st.sampled_from(["name", "toName", "value", "alias", "prompt", "defaultValue", "a:b", "xmlns"]),
    st.sampled_from(["image", "mask", "prompt", "threshold", "$image", "$" + "a." * 200, "nan"])
    | st.text(st.characters(codec="utf-8"), max_size=10),
    max_size=4,
)
ODD_CONTENT = st.sampled_from(
    ["&amp;", "&x;", "&#0;", "&#xD800;", "<![CDATA[x]]>", "<?php x?>", "<!-- x -->", "]]>", "\0"]
)


@st.composite
def configs(draw: st.DrawFn) -> str:
    parts = []
    for name, attributes in draw(st.lists(st.tuples(NAMES, ATTRIBUTES), max_size=8)):
        written = "".join(f' {key}="{value}"' for key, value in attributes.items())
        parts.append(f"<{name}{written}/>")
    odd = draw(st.lists(ODD_CONTENT, max_size=1))
    whole = CONFIG.replace("</View>", "".join([*parts, *odd]) + "</View>")
    start = draw(st.integers(0, len(whole)))
    return whole[:start] + whole[start + draw(st.sampled_from([0, 0, 1, 9])) :]


HOSTILE_CONFIGS = {
    "billion laughs": '<!DOCTYPE l [<!ENTITY a "lol"><!ENTITY b "&a;&a;">]><View>&b;</View>',
    "file": '<!DOCTYPE v [<!ENTITY x SYSTEM "file:///etc/passwd">]><View a="&x;"/>',
    "deep": "<View>" * 100_000 + "</View>" * 100_000,
    "huge attribute": CONFIG.replace("car", "c" * 900_000),
    "many attributes": "<View " + "".join(f" a{number}='1'" for number in range(80_000)) + "/>",
    "many labels": CONFIG.replace('<Label value="car"/>', '<Label value="x"/>' * 50_000),
    "long key": CONFIG.replace("$prompt", "$" + "a." * 400_000),
    "many targets": CONFIG.replace('toName="image"', f'toName="{"image," * 100_000}"', 1),
    "other encoding": '<?xml version="1.0" encoding="utf-7"?><View/>',
    "wrong encoding": '<?xml version="1.0" encoding="utf-16"?>' + CONFIG,
    "namespace": CONFIG.replace("<View>", '<View xmlns="urn:x" xmlns:y="urn:y">'),
    "undeclared namespace": CONFIG.replace("BrushLabels", "y:BrushLabels"),
    "surrogate": CONFIG.replace("car", "\ud800"),
    "too long": CONFIG + " " * 10**6,
}


@pytest.mark.parametrize("path", ["/setup", "/predict"])
def test_any_labeling_config_is_answered(client: TestClient, path: str) -> None:
    key = "schema" if path == "/setup" else "label_config"
    tasks = PREDICT["tasks"] * 100

    def check(config: str) -> int:
        body = PREDICT | {key: config, "tasks": tasks}
        return post(client, path, json.dumps(body))

    seen = set()
    few(given(configs())(lambda config: seen.add(check(config))))()
    assert seen == {200, 400}
    for config in HOSTILE_CONFIGS.values():
        check(config)
