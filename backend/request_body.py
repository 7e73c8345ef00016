"""Request bodies: read within a limit, and lightened of the masks that we never look at."""

import re
from collections.abc import AsyncGenerator

from fastapi import Request

from backend.errors import RequestTooLargeError

# A quoted "rle" in front of a colon is a key: inside a string its quotes would be escaped.
_MASK = re.compile(rb'"rle"\s*:\s*\[[^]"]*\]')


async def read_body(request: Request, *, max_megabytes: int) -> bytes:
    """Reads the request's body, as long as it is within the limit.

    Raises:
        RequestTooLargeError: it says it is larger, or turns out to be.
    """
    advice = "select fewer tasks at once, or raise SELF1E_MAX_REQUEST_MB."
    body = bytearray()
    async for chunk in limited_stream(request, max_megabytes=max_megabytes, advice=advice):
        body += chunk
    return bytes(body)


async def limited_stream(
    request: Request, *, max_megabytes: int, advice: str
) -> AsyncGenerator[bytes, None]:
    """The parts of the request's body, as long as it is within the limit.

    Args:
        request: its body must not have been read.
        max_megabytes: the limit in MiB.
        advice: what to do about a body that is too large.

    Raises:
        RequestTooLargeError: it says it is larger, or turns out to be.
    """
    max_bytes = max_megabytes * 2**20
    error = RequestTooLargeError(f"The body is larger than {max_megabytes} MiB: {advice}")
    declared = request.headers.get("content-length", "")
    if declared.isdecimal() and int(declared[:20]) > max_bytes:  # int() refuses thousands of digits
        raise error
    size = 0
    async for chunk in request.stream():
        size += len(chunk)
        if size > max_bytes:
            raise error
        yield chunk


def without_masks(body: bytes) -> bytes:
    """Empties the masks (RLE) of annotations and predictions in a JSON text.

    They are nearly all of a large body. Parsing 100 MB holds Python's global lock for a second, in
    which /health would not answer and Label Studio would give the backend up; this holds it for
    one mask at a time, and takes a third of the time.
    """
    light = bytearray()
    end = 0
    for mask in _MASK.finditer(body):
        light += body[end : mask.start()]
        light += b'"rle":[]'
        end = mask.end()
    return bytes(light + body[end:]) if end else body
