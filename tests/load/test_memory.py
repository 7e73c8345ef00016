"""What the sampled memory of a process says."""

import pytest

from tests.load.memory import MemoryUse


def use(role: str = "worker", *, minutes: float = 6.0, slope: float = 0.0) -> MemoryUse:
    return MemoryUse(role, 1, minutes, first=300.0, last=400.0, highest=400.0, slope=slope)


@pytest.mark.parametrize(
    ("memory", "is_flat"),
    [
        (use(), True),
        (use(slope=-20.0), True),
        (use(slope=4.9), True),
        (use(slope=5.1), False),  # 4 minutes at this slope are more than 5 % of 400 MiB
        (use("web", slope=5.1), False),
        (use("redis", slope=5.1), None),
        (use(minutes=1.0, slope=100.0), None),
    ],
)
def test_memory_is_flat_if_it_grows_by_a_twentieth_at_most(
    memory: MemoryUse, is_flat: bool | None
) -> None:
    assert memory.is_flat is is_flat
