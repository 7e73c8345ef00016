"""Child processes that cannot outlive the process that started them, however that one ends."""

import contextlib
import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

# A shell between us and the program reads from a pipe whose writing end only we have. When we
# end, even by SIGKILL, the system closes our end, `read` returns, and the shell terminates the
# program. Unlike PR_SET_PDEATHSIG it works on macOS, and needs no code in a fork.
_SUPERVISE = """
exec 3<&0
"$@" </dev/null 3<&- &
program=$!
{ read -r _ <&3; kill "$program"; } >/dev/null 2>&1 &
watch=$!
exec 3<&- 2>/dev/null
wait "$program"
status=$?
kill "$watch" 2>/dev/null
exit "$status"
"""


class ChildProcess:
    """A running program, in a process group of its own so that a Ctrl-C reaches only us."""

    def __init__(
        self,
        argv: Sequence[str],
        *,
        cwd: Path | None = None,
        environment: Mapping[str, str] | None = None,
        output: Path | None = None,
    ) -> None:
        """Starts the program.

        Args:
            argv: the program and its arguments.
            cwd: directory to run it in, ours without.
            environment: all its environment variables, ours without.
            output: file that takes its standard output and error, replaced if it exists; without
                one it shares ours.
        """
        reading, self._lifeline = os.pipe()
        with contextlib.ExitStack() as files:
            files.callback(os.close, reading)
            log = None if output is None else files.enter_context(output.open("wb"))
            self._shell = subprocess.Popen(
                ["/bin/sh", "-c", _SUPERVISE, "sh", *argv],
                stdin=reading,
                stdout=log,
                stderr=log,
                start_new_session=True,
                cwd=cwd,
                env=None if environment is None else dict(environment),
            )

    def wait(self, timeout: float | None = None) -> int | None:
        """Waits for the program's end, at most `timeout` seconds.

        Returns:
            Its exit code (128 + n after signal n), or None while it is running.
        """
        try:
            return self._shell.wait(timeout)
        except subprocess.TimeoutExpired:
            return None

    def terminate(self) -> None:
        """Asks the program to stop (SIGTERM); does not wait. May be called again."""
        if self._lifeline >= 0:
            os.close(self._lifeline)
            self._lifeline = -1

    def stop(self, timeout: float) -> int:
        """Stops the program, by SIGKILL if it is still running after `timeout` seconds.

        Returns:
            Its exit code.
        """
        self.terminate()
        code = self.wait(timeout)
        # Even a program that ended may have left children of its own in the group. If not, there is
        # no such group, to which macOS also says that it is not permitted.
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._shell.pid, signal.SIGKILL)
        return self._shell.wait() if code is None else code
