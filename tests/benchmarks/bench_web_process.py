"""How small and how quick to start the web process is.

Prints JSON; with --check the exit code is 1 if an aim is missed.
`python -m tests.benchmarks.bench_web_process`
"""

import argparse
import http.client
import json
import subprocess
import sys
import tempfile
import time
from typing import Any

from backend.service_process import free_port

ROUNDS = 3
START_SECONDS = 30.0
AIM_RSS_MB = 150.0
AIM_START_SECONDS = 2.0


def measure() -> dict[str, Any]:
    """The quickest of several starts, and the most memory."""
    seconds, megabytes = zip(*(start_once() for _ in range(ROUNDS)), strict=True)
    return {
        "rss_mb": round(max(megabytes), 1),
        "aim_rss_mb": AIM_RSS_MB,
        "start_s": round(min(seconds), 2),
        "aim_start_s": AIM_START_SECONDS,
    }


def start_once() -> tuple[float, float]:
    """Seconds until /health answers, and resident megabytes then."""
    port = free_port()
    with tempfile.TemporaryDirectory() as data_dir:
        environment = {"SELF1E_DATA_DIR": data_dir, "PORT": str(port)}
        start = time.perf_counter()
        web = subprocess.Popen(
            [sys.executable, "-m", "backend", "web"], env=environment, stderr=subprocess.DEVNULL
        )
        try:
            while not answers(port):
                if time.perf_counter() - start > START_SECONDS or web.poll() is not None:
                    raise TimeoutError("The web process does not answer.")
            return time.perf_counter() - start, resident_megabytes(web.pid)
        finally:
            web.terminate()
            web.wait()


def resident_megabytes(pid: int) -> float:
    ran = subprocess.run(
        ["ps", "-o", "rss=", "-p", str(pid)], capture_output=True, check=True, text=True
    )
    return int(ran.stdout) * 1024 / 1e6


def answers(port: int) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=1)
    try:
        connection.request("GET", "/health")
        return connection.getresponse().status == http.client.OK
    except OSError:
        return False
    finally:
        connection.close()


def main() -> int:
    """Measures, prints, and returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="exit with 1 if an aim is missed")
    arguments = parser.parse_args()
    measured = measure()
    print(json.dumps(measured))
    missed = measured["rss_mb"] > AIM_RSS_MB or measured["start_s"] > AIM_START_SECONDS
    return int(arguments.check and missed)


if __name__ == "__main__":
    sys.exit(main())
