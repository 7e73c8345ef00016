"""How much faster our brush RLE is than the Label Studio SDK's: `python -m` this module.

Prints the ratios as JSON; with --check the exit code is 1 if one misses its aim.
"""

import argparse
import json
import sys
import time
from collections.abc import Callable
from typing import TypeVar

import cv2
import numpy as np
from label_studio_sdk.converter import brush
from numpy.typing import NDArray

from backend.brush_rle import decode_mask, encode_mask

HEIGHT, WIDTH = 3000, 4000
AIMS = {"clean": {"encode": 1.0, "decode": 1.0}, "ragged": {"encode": 10.0, "decode": 30.0}}
OURS_ROUNDS, SDK_ROUNDS = 7, 2  # the best counts; the SDK takes seconds

Result = TypeVar("Result")


def clean_mask() -> NDArray[np.bool_]:
    """Two large smooth shapes."""
    canvas = np.zeros((HEIGHT, WIDTH), dtype=np.uint8)
    cv2.ellipse(canvas, (1500, 1400), (900, 700), 20, 0, 360, 255, -1)
    cv2.circle(canvas, (3200, 2200), 500, 255, -1)
    return canvas > 0


def ragged_mask() -> NDArray[np.bool_]:
    """Blobs with frayed borders and specks, as from an unfiltered segmentation."""
    rng = np.random.default_rng(0)
    blobs, grain = (
        cv2.resize(
            rng.standard_normal((HEIGHT // scale, WIDTH // scale), dtype=np.float32),
            (WIDTH, HEIGHT),
            interpolation=interpolation,
        )
        for scale, interpolation in ((8, cv2.INTER_CUBIC), (2, cv2.INTER_LINEAR))
    )
    ragged: NDArray[np.bool_] = blobs + 0.3 * grain > 0.9
    return ragged


def best(function: Callable[[], Result], rounds: int) -> tuple[float, Result]:
    """The least time of several calls, in seconds, and the last result."""
    times = []
    for _ in range(rounds):
        start = time.perf_counter()
        result = function()
        times.append(time.perf_counter() - start)
    return min(times), result


def speedups(mask: NDArray[np.bool_]) -> dict[str, float]:
    """How many times faster than the SDK a mask is encoded and decoded."""
    channel = mask.astype(np.uint8) * 255
    mask2rle: Callable[[NDArray[np.uint8]], list[int]] = brush.mask2rle
    decode_rle: Callable[[list[int]], NDArray[np.uint8]] = brush.decode_rle
    sdk_encode, sdk_rle = best(lambda: mask2rle(channel), SDK_ROUNDS)
    encode, rle = best(lambda: encode_mask(mask), OURS_ROUNDS)
    sdk_decode, _ = best(lambda: decode_rle(rle), SDK_ROUNDS)
    decode, decoded = best(lambda: decode_mask(rle, HEIGHT, WIDTH), OURS_ROUNDS)
    if rle != sdk_rle or not np.array_equal(decoded, mask):
        raise AssertionError("the results differ from the SDK's: the times mean nothing")
    return {"encode": round(sdk_encode / encode, 1), "decode": round(sdk_decode / decode, 1)}


def main() -> int:
    """Measures, prints, and returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="exit with 1 if an aim is missed")
    options = parser.parse_args()
    measured = {"clean": speedups(clean_mask()), "ragged": speedups(ragged_mask())}
    print(json.dumps({"aims": AIMS, "measured": measured}))
    met = all(
        measured[mask][way] >= aim for mask, aims in AIMS.items() for way, aim in aims.items()
    )
    return 0 if met or not options.check else 1


if __name__ == "__main__":
    sys.exit(main())
