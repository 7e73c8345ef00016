"""The web process: `python -m backend web`."""

import logging

import uvicorn

from backend.app import create_app
from backend.log import configure_logging, log_event
from backend.queue import JobQueue
from backend.settings import Settings

logger = logging.getLogger(__name__)

# Requests that still wait for workers after this are cut off when the process is asked to stop.
_GRACEFUL_SHUTDOWN_SECONDS = 3


def run_web(settings: Settings) -> int:
    """Serves Label Studio's protocol until SIGTERM or SIGINT.

    Returns:
        The exit code: 1 if a setting is no good.
    """
    configure_logging(settings, "web")
    # Its INFO lines repeat ours, and its access log would show the webhook secret.
    logging.getLogger("uvicorn").setLevel(logging.WARNING)
    queue = JobQueue.from_settings(settings)
    try:
        app = create_app(settings, queue)
    except ValueError as error:
        log_event(logger, logging.ERROR, str(error))
        return 1
    if not (settings.basic_auth_user or settings.is_local):
        log_event(
            logger,
            logging.WARNING,
            "open to everybody who can reach it: set BASIC_AUTH_USER and BASIC_AUTH_PASS",
            host=settings.host,
        )
    log_event(logger, logging.INFO, "starting", host=settings.host, port=settings.port)
    uvicorn.run(
        app,
        host=settings.host,
        port=settings.port,
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=_GRACEFUL_SHUTDOWN_SECONDS,
    )
    queue.close()
    return 0
