import os
import subprocess
import sys
from pathlib import Path

from tests.conftest import ROOT

GIVE_WAY = """
import os
from pathlib import Path
from backend.prompts_first import give_way
give_way()
print(os.nice(0))
session = Path("/proc/self/autogroup")
print(session.read_text() if session.exists() else "")
"""
SHARES_BY_SESSION = Path("/proc/sys/kernel/sched_autogroup_enabled")


def test_a_training_has_the_lowest_priority_also_where_sessions_share_the_cpu() -> None:
    ran = subprocess.run(
        [sys.executable, "-c", GIVE_WAY],
        cwd=ROOT,
        start_new_session=True,  # without a terminal, as the trainer starts it
        capture_output=True,
        text=True,
        check=True,
    )
    own, _, session = ran.stdout.partition("\n")
    assert own == "19"
    if SHARES_BY_SESSION.exists() and SHARES_BY_SESSION.read_text().strip() == "1":
        assert "nice 19" in session


def test_a_terminal_keeps_the_priority_of_its_session() -> None:
    leader, follower = os.openpty()
    controlled = "import fcntl, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0)\n" + GIVE_WAY
    try:
        ran = subprocess.run(
            [sys.executable, "-c", controlled],
            cwd=ROOT,
            start_new_session=True,
            stdin=follower,
            stdout=subprocess.PIPE,
            text=True,
            check=True,
        )
    finally:
        os.close(leader)
        os.close(follower)
    assert ran.stdout.startswith("19\n")
    assert "nice 19" not in ran.stdout
