"""Who may ask for what, and that pages show what others wrote as text."""

import requests
from fastapi.testclient import TestClient
from playwright.sync_api import Browser

from backend.app import create_app
from backend.job_history import JobRecord, record_job
from backend.queue import JobQueue
from backend.settings import Settings

EVIL = "<img src=x onerror=\"document.title='owned'\"><script>document.title='owned'</script>"
OPEN = {"/health", "/{secret}/health", "/{secret}/webhook"}
NOWHERE = {"job_id": "0" * 64, "run": "0" * 16}


def test_every_route_wants_credentials_but_health_and_the_secret_webhook(
    settings: Settings, queue: JobQueue
) -> None:
    changes = {"basic_auth_user": "u", "basic_auth_pass": "p", "webhook_secret": "s3cret-word"}
    app = create_app(Settings.model_validate(settings.model_dump() | changes), queue)
    asked = set()
    with TestClient(app) as client:
        for route, methods in app.openapi()["paths"].items():
            for method in methods:
                path = route.format(secret="s3cret-word", **NOWHERE)
                status = client.request(method, path, content=b"{}").status_code
                assert (status == 401) is (route not in OPEN), route
                if route.startswith("/{secret}"):
                    guess = route.format(secret="guess", **NOWHERE)
                    assert client.request(method, guess, content=b"{}").status_code == 401
                asked.add(route)
        for path in ("/docs", "/redoc", "/openapi.json"):
            assert client.get(path, auth=("u", "p")).status_code == 404
    assert asked > OPEN


def test_replies_name_no_server_and_are_not_guessed_at(page_url: str) -> None:
    with requests.Session() as session:
        for path in ("/", "/health", "/jobs", "/metrics", "/nowhere", "/trials/none"):
            headers = session.get(page_url + path, timeout=60).headers
            assert "server" not in headers, path
            assert headers["x-content-type-options"] == "nosniff", path
        policy = session.get(page_url, timeout=60).headers["content-security-policy"]
    assert "frame-ancestors 'none'" in policy


def test_what_others_wrote_does_not_run(page_url: str, queue: JobQueue, browser: Browser) -> None:
    image = f"http://images.test/{EVIL}.png"
    record_job(queue, JobRecord("job", "batch", "failed", [EVIL], image, reason=EVIL, worker=EVIL))
    with browser.new_page() as page:
        page.goto(page_url)
        page.get_by_text(EVIL).first.wait_for()
        # The page renews itself: what its script puts in is text, too.
        page.wait_for_event("requestfinished", timeout=60_000)
        page.get_by_text(EVIL).first.wait_for()
        assert page.title() == "SELF1E for Label Studio"
        assert page.locator("#status img, #status script").count() == 0
