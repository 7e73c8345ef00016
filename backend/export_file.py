"""Reads Label Studio's JSON export task by task: it may be larger than the memory."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TextIO

from backend.errors import AnnotationError

_READ_CHARACTERS = 1 << 20
_SPACE = re.compile(r"\s*")
_MIN_FIELDS = ("annotation_id", "annotator", "lead_time")


def read_export(path: Path) -> Iterator[dict[str, Any]]:
    """The tasks of an export, in its order.

    Raises:
        AnnotationError: The file cannot be read, or is no JSON export.
    """
    try:
        with path.open(encoding="utf-8-sig") as file:
            for index, item in enumerate(_items(file, path)):
                yield _checked(item, index, path)
    except (OSError, UnicodeDecodeError) as error:
        raise AnnotationError(f"The export {path} cannot be read: {error}.") from error


def _items(file: TextIO, path: Path) -> Iterator[Any]:
    """The items of the one array in the file."""
    decoder = json.JSONDecoder()
    text, at = file.read(_READ_CHARACTERS).lstrip(), 1
    if not text.startswith("["):
        raise AnnotationError(
            f"{path} is not a list of tasks: in Label Studio choose Export, then JSON."
        )
    while True:
        at = _after_space(text, at)
        if text.startswith("]", at):
            return
        try:
            item, end = decoder.raw_decode(text, at)
            end = _after_space(text, end)
        except json.JSONDecodeError:
            end = len(text)
        if end == len(text):
            # As much again as there is: what is parsed twice stays less than the file.
            more = file.read(max(len(text) - at, _READ_CHARACTERS))
            if not more:
                raise AnnotationError(f"{path} is damaged or cut short: export it again.")
            text, at = text[at:] + more, 0
            continue
        yield item
        if text[end] not in ",]":
            raise AnnotationError(f"{path} is damaged: export it again.")
        at = end + 1 if text[end] == "," else end


def _after_space(text: str, at: int) -> int:
    match = _SPACE.match(text, at)
    return at if match is None else match.end()


def _checked(item: Any, index: int, path: Path) -> dict[str, Any]:
    if not isinstance(item, dict):
        raise AnnotationError(f"Item {index} of {path} is no task: export as JSON.")
    if "annotations" in item and "data" in item:
        return item
    if any(field in item for field in _MIN_FIELDS):
        raise AnnotationError(
            f"{path} is a JSON_MIN export, which lacks what regions came from: export as JSON."
        )
    raise AnnotationError(
        f"Item {index} of {path} has no data and annotations: export as JSON, not as tasks."
    )
