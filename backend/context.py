"""Reads what the annotator's controls hold out of the context of an interactive request."""

from collections.abc import Iterator, Mapping
from typing import Any

from backend.errors import BadRequestError


def context_values(
    context: Mapping[str, Any] | None, control_name: str
) -> Iterator[Mapping[str, Any]]:
    """The values that one control has on the image, the newest first.

    The context holds the results of every control on the image, in no order to rely on: they are
    told apart by their control's name.

    Args:
        context: `params.context` of a /predict request; None for a batch.
        control_name: the `from_name` of the results.

    Raises:
        BadRequestError: the context is not what Label Studio sends.
    """
    results = [] if context is None else context.get("result", [])
    if not isinstance(results, list):
        raise BadRequestError('The "result" of the context is not a list.')
    for result in reversed(results):
        if not isinstance(result, Mapping) or result.get("from_name") != control_name:
            continue
        value = result.get("value")
        if isinstance(value, Mapping):
            yield value
