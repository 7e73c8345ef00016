"""What a check of the doctor finds, and how a check is kept from taking forever."""

import queue
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Literal

Level = Literal["ok", "warning", "problem"]


@dataclass(frozen=True)
class Finding:
    """One line of the doctor's: what was looked at, how it is, and what to do about it."""

    level: Level
    subject: str
    detail: str
    advice: str = ""

    def __str__(self) -> str:
        line = f"{self.level:8} {self.subject}: {self.detail}"
        return f"{line}\n         -> {self.advice}" if self.advice else line


@dataclass(frozen=True)
class Check:
    """A part of the examination, and the longest time it may take, in seconds."""

    subject: str
    look: Callable[[], Iterable[Finding]]
    seconds: float


def findings_of(check: Check) -> list[Finding]:
    """What the check finds; a problem if it takes too long or breaks down."""
    results: queue.SimpleQueue[list[Finding]] = queue.SimpleQueue()

    def look() -> None:
        try:
            results.put(list(check.look()))
        except Exception as error:  # noqa: BLE001  whatever breaks one check must not end the others
            detail = f"the check itself failed ({type(error).__name__}: {error})"
            results.put([Finding("problem", check.subject, detail)])

    # Not waited for at the end: a thread that hangs in a name lookup cannot be stopped.
    threading.Thread(target=look, name=f"check {check.subject}", daemon=True).start()
    try:
        return results.get(timeout=check.seconds)
    except queue.Empty:
        detail = f"no answer within {check.seconds:g} s"
        return [Finding("problem", check.subject, detail, "See whether the network drops packets.")]
