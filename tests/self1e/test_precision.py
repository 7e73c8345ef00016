import pytest
import torch

from self1e import precision
from self1e.precision import bfloat16_pays


@pytest.mark.parametrize(("bfloat16", "pays"), [(0.5, True), (58.0, False)])
def test_on_a_cpu_a_trial_decides(
    bfloat16: float, pays: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    seconds = {torch.bfloat16: bfloat16, torch.float32: 1.0}
    monkeypatch.setattr(precision, "_product_seconds", lambda dtype, _: seconds[dtype])
    bfloat16_pays.cache_clear()
    assert bfloat16_pays("cpu") is pays
    bfloat16_pays.cache_clear()


def test_a_gpu_needs_no_trial() -> None:
    assert bfloat16_pays("cuda")


def test_products_take_time() -> None:
    assert precision._product_seconds(torch.float32, "cpu") > 0
