"""What goes wrong in the middle of it. Each returns when the servers are left alone again."""

import time

from tests.load.servers import Backend, LabelStudio, full_disk

LABEL_STUDIO_DOWN_SECONDS = 30.0
REDIS_DOWN_SECONDS = 5.0
DISK_FULL_SECONDS = 20.0


def kill_worker(backend: Backend) -> None:
    """The supervisor starts another one."""
    backend.kill_worker()


def restart_redis(backend: Backend, seconds: float) -> None:
    """Kills redis and starts it again after a while."""
    backend.redis.kill(backend.queue)
    time.sleep(seconds)
    backend.redis.start()


def restart_label_studio(label_studio: LabelStudio, seconds: float) -> None:
    """Stops Label Studio and starts it again after a while; it takes its time to start."""
    label_studio.stop()
    time.sleep(seconds)
    label_studio.start()


def fill_disk(backend: Backend, seconds: float) -> None:
    """Leaves no byte on the data directory's disk for a while."""
    with full_disk(backend.data_dir):
        time.sleep(seconds)
