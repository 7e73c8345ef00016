import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from backend.child_process import ChildProcess

pytestmark = pytest.mark.timeout(60)

# Writes a line to a pipe, then holds its other end open: the reader sees the end of the file only
# when this process and all it started are gone.
HOLD = "import sys, time; f = open(sys.argv[1], 'w'); f.write('up\\n'); f.flush(); time.sleep(600)"


@pytest.fixture
def pipe(tmp_path: Path) -> Path:
    path = tmp_path / "pipe"
    os.mkfifo(path)
    return path


def test_the_exit_code_is_the_programs() -> None:
    child = ChildProcess([sys.executable, "-c", "raise SystemExit(7)"])
    assert child.wait(30) == 7
    assert child.stop(0) == 7


def test_arguments_directory_and_environment_reach_the_program(tmp_path: Path) -> None:
    child = ChildProcess(
        ["/bin/sh", "-c", 'echo "$1 $WORD" > out', "sh", "it's a $HOME"],
        cwd=tmp_path,
        environment={"WORD": "word"},
    )
    assert child.wait(30) == 0
    assert (tmp_path / "out").read_text() == "it's a $HOME word\n"


def test_stop_terminates_the_program(pipe: Path) -> None:
    child = ChildProcess([sys.executable, "-c", HOLD, str(pipe)])
    with pipe.open() as reader:
        assert reader.readline() == "up\n"
        assert child.wait(0.01) is None
        assert child.stop(30) == 128 + signal.SIGTERM
        assert reader.read() == ""


def test_stop_kills_a_program_that_does_not_listen(pipe: Path) -> None:
    deaf = f"import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); {HOLD}"
    child = ChildProcess([sys.executable, "-c", deaf, str(pipe)])
    with pipe.open() as reader:
        assert reader.readline() == "up\n"
        assert child.stop(0.1) == -signal.SIGKILL
        assert reader.read() == ""


@pytest.mark.parametrize("signum", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_the_program_ends_when_its_parent_is_killed(pipe: Path, signum: signal.Signals) -> None:
    # Started in the background, a test run may itself ignore SIGINT and hand that down.
    parent_code = (
        "import signal, sys; from backend.child_process import ChildProcess; "
        "signal.signal(signal.SIGINT, signal.default_int_handler); "
        "ChildProcess([sys.executable, '-c', *sys.argv[1:]]).wait()"
    )
    parent = subprocess.Popen(
        [sys.executable, "-c", parent_code, HOLD, str(pipe)], stderr=subprocess.DEVNULL
    )
    with pipe.open() as reader:
        assert reader.readline() == "up\n"
        parent.send_signal(signum)
        parent.wait()
        assert reader.read() == ""
