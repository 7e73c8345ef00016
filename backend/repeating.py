"""Work that a thread repeats beside the rest of a process: leases, and looks at what others do."""

import contextlib
import threading
from collections.abc import Callable, Iterator


@contextlib.contextmanager
def repeating(action: Callable[[], None], seconds: float, name: str) -> Iterator[None]:
    """Calls `action` at once and then every so often, for as long as the context is open.

    Args:
        action: runs in a thread of its own; when it raises, the thread ends.
        seconds: pause between the calls.
        name: the thread's.
    """
    ended = threading.Event()

    def repeat() -> None:
        action()
        while not ended.wait(seconds):
            action()

    thread = threading.Thread(target=repeat, name=name, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
