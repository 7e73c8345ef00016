"""Whether to train in bfloat16: it halves the time where there are instructions for it."""

import time
from functools import cache

import torch

_SIDE = 256
_PRODUCTS = 3


@cache
def bfloat16_pays(device_type: str) -> bool:
    """Whether this machine multiplies matrices faster in bfloat16 than in float32.

    A CPU without such instructions takes dozens of times as long, which a short trial tells.
    """
    return device_type == "cuda" or (
        _product_seconds(torch.bfloat16, device_type) < _product_seconds(torch.float32, device_type)
    )


def autocast(device_type: str) -> torch.autocast:
    """Computes in bfloat16 where that pays, else in float32."""
    return torch.autocast(device_type, torch.bfloat16, enabled=bfloat16_pays(device_type))


def _product_seconds(dtype: torch.dtype, device_type: str) -> float:
    """The fastest of a few products of two square matrices."""
    matrix = torch.ones(_SIDE, _SIDE, dtype=dtype, device=device_type)
    seconds = []
    for _ in range(_PRODUCTS + 1):  # the first one also sets things up
        start = time.perf_counter()
        matrix @ matrix
        seconds.append(time.perf_counter() - start)
    return min(seconds[1:])
