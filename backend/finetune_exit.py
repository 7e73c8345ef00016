"""Exit codes of `python -m backend.finetune`, for the trainer and for scripts."""

from enum import IntEnum


class FinetuneExit(IntEnum):
    """What became of a training."""

    PUBLISHED = 0
    """A better version is served now, or the dry run is done."""
    FAILED = 1
    """It could not be done; the message says why."""
    REFUSED = 3
    """What was learned is not better, or something was forgotten: the former version stays."""
    BUSY = 4
    """Another training runs on this device."""
