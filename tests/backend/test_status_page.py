import base64
import hashlib
import re

import pytest

from backend.job_history import JobRecord, shown_image
from backend.report_store import RunRecord
from backend.status import RunningJob, Status
from backend.status_page import (
    CONTENT_SECURITY_POLICY,
    status_html,
    trial_failed_html,
    trial_html,
    trial_waiting_html,
)
from backend.worker_board import WorkerRecord

EVIL = "<script>alert('x')</script>\"&"
FAILED = JobRecord(EVIL, EVIL, "failed", [EVIL], EVIL, 1, 0, EVIL, 1500, 20, EVIL, 0.0)
FULL = Status(
    redis="ok",
    model_version=EVIL,
    workers=[WorkerRecord("id", EVIL, "ready", EVIL, EVIL, EVIL, 1)],
    waiting={"interactive": 1, "batch": 23},
    deliveries=17,
    running=[RunningJob(EVIL, EVIL, EVIL, 3.0)],
    failures=[FAILED],
    recent=[FAILED, JobRecord("abc", "batch", "finished", ["a cat"], regions=2)],
)


def test_whatever_comes_from_others_is_escaped() -> None:
    for page in (
        status_html(FULL),
        status_html(FULL, [RunRecord(EVIL, EVIL, 0.0, EVIL, (EVIL,))]),
        trial_html(EVIL, overlay=EVIL, score=0.5, found=True),
        trial_failed_html(EVIL),
    ):
        assert "&lt;script&gt;alert(&#x27;x&#x27;)&lt;/script&gt;&quot;&amp;" in page
        assert "<script>alert" not in page
        assert "alert('x')" not in page


def test_the_page_shows_queues_jobs_and_times() -> None:
    page = status_html(FULL)
    for text in (
        "1 interactive, 23 batch",
        "get: 17<",
        "a cat",
        "2 regions",
        "1.5 s",
        "20 ms",
        "1970-01-01",
    ):
        assert text in page


def test_the_last_finetunings_are_shown_with_their_outcome_also_without_redis() -> None:
    reasons = ("Worse.", "And wrong.")
    for status in (FULL, Status(redis="away", model_version="demo-1")):
        page = status_html(
            status,
            [
                RunRecord("aa", "demo-1", 0.0, reasons=reasons),
                RunRecord("bb", "demo-1", 0.0, "demo-1+1", reasons),
                RunRecord("cc", "demo-1", 0.0, "demo-1+2"),
            ],
        )
        for row in (
            '<a href="reports/aa">aa</a></td><td>demo-1</td><td>refused</td>'
            "<td>Worse. And wrong.</td>",
            '<a href="reports/bb">bb</a></td><td>demo-1</td><td>published demo-1+1 by force</td>',
            '<a href="reports/cc">cc</a></td><td>demo-1</td><td>published demo-1+2</td><td></td>',
        ):
            assert row in page


def test_without_redis_the_page_says_so_and_still_has_the_form() -> None:
    page = status_html(Status(redis="away", model_version="demo-1"))
    assert "Redis does not answer" in page
    assert "demo-1" in page
    assert 'type="file"' in page
    assert "Workers" not in page


@pytest.mark.parametrize("tag", ["style", "script"])
def test_the_policy_allows_the_pages_own_style_and_script_only(tag: str) -> None:
    (content,) = re.findall(rf"<{tag}>(.*?)</{tag}>", status_html(FULL), re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()
    assert f"{tag}-src 'sha256-{digest}'" in CONTENT_SECURITY_POLICY
    assert "unsafe" not in CONTENT_SECURITY_POLICY
    assert "default-src 'none'" in CONTENT_SECURITY_POLICY


def test_a_page_that_waits_asks_again() -> None:
    assert '<meta http-equiv="refresh" content="1">' in trial_waiting_html()


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("https://user:word@host:8443/a/b.png?X-Amz-Signature=abc#f", "https://host:8443/a/b.png"),
        ("http://[::1]:80/a.png?q", "http://[::1]:80/a.png"),
        ("/data/local-files/?d=secret/a.png", "/data/local-files/"),
        ("s3://bucket/key.png", "s3://bucket/key.png"),
        ("data:image/png;base64,AAAA", "data:"),
        ("upload:0123", "upload:"),
        ("http://host:port/", ""),
        ("http://[bad/", ""),
        ("/" + "a" * 1000, "/" + "a" * 199),
    ],
)
def test_images_are_shown_without_what_may_be_secret(url: str, shown: str) -> None:
    assert shown_image(url) == shown
