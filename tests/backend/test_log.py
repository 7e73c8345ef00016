import logging
import sys
from collections.abc import Iterator

import pytest

from backend.log import EventFormatter, configure_logging, log_event
from backend.settings import Settings

SECRETS = ("hunter2-password", "token-abcdef")


@pytest.fixture
def logging_restored() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    logging.basicConfig(handlers=handlers, level=level, force=True)
    logging.captureWarnings(False)


def line(message: str, *, secrets: tuple[str, ...] = SECRETS, **fields: object) -> str:
    record = logging.LogRecord("backend.test", logging.INFO, "", 0, message, None, None)
    record.fields = fields
    return EventFormatter("worker-1", secrets).format(record)


def test_an_event_is_one_line_of_pairs() -> None:
    text = line("request", route="/predict", ms=12.345, detail='two\nlines "quoted"', empty="")
    assert "\n" not in text
    assert text.split(" ", 1)[1] == (
        "INFO process=worker-1 logger=backend.test event=request route=/predict ms=12.3 "
        'detail="two\\nlines \\"quoted\\"" empty=""'
    )


def test_a_traceback_stays_on_the_line() -> None:
    record = logging.LogRecord("backend.test", logging.ERROR, "", 0, "failed", None, None)
    try:
        int("no good")
    except ValueError:
        record.exc_info = sys.exc_info()
    text = EventFormatter("", ()).format(record)
    assert "\n" not in text
    assert "ValueError: invalid literal" in text


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("password hunter2-password", "password ***"),
        ("Authorization: Token token-abcdef!", "Authorization: Token ***!"),
        ("redis://:other-word@host:6379/0 is away", "redis://***@host:6379/0 is away"),
        ("https://s3.test/a.png?X-Amz-Signature=0a1b", "https://s3.test/a.png?***"),
        ("see https://host/a?x=1 and http://b/c?y=2.", "see https://host/a?*** and http://b/c?***"),
        ("what? nothing", "what? nothing"),
    ],
)
def test_secrets_are_taken_out(text: str, expected: str) -> None:
    assert f'event="{expected}"' in line(text)


def test_a_secret_within_another_does_not_uncover_it() -> None:
    assert "long" not in line("the word-and-a-long-tail", secrets=("word", "word-and-a-long-tail"))


def test_every_secret_setting_is_taken_out(
    logging_restored: None, capsys: pytest.CaptureFixture[str]
) -> None:
    values = {
        "label_studio_api_key": "key-of-label-studio",
        "redis_url": "redis://:redis-word@host/0",
        "basic_auth_pass": "basic-word",
        "webhook_secret": "webhook-word",
    }
    configure_logging(Settings.model_validate(values | {"basic_auth_user": "studio"}))
    logger = logging.getLogger("backend.test")
    for value in values.values():
        log_event(logger, logging.WARNING, f"it is {value}", detail=value)
    logged = capsys.readouterr().err
    assert logged.count("***") >= 2 * len(values)
    assert not any(value in logged for value in values.values())
