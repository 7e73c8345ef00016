import re
from xml.etree import ElementTree

import pytest

from backend.report_curves import loss_curves

HISTORY = [
    {"step": 0, "eval_loss": 4.0},
    {"step": 10, "loss": 3.0, "grad_norm": 1.0},
    {"step": 20, "loss": 2.0},
    {"step": 25, "eval_loss": 1.0},
    {"step": 50, "eval_loss": 2.0},
    {"step": 50, "train_runtime": 3.5},
]


def points(svg: str, curve: str) -> list[tuple[float, float]]:
    (text,) = re.findall(rf'<polyline class="{curve}" points="([^"]*)"', svg)
    return [(float(x), float(y)) for x, y in (pair.split(",") for pair in text.split())]


def test_curves_are_to_scale() -> None:
    svg = loss_curves(HISTORY)
    validation = points(svg, "validation")
    (x0, y0), (x1, y1), (x2, y2) = validation
    assert x1 - x0 == pytest.approx(x2 - x1, abs=0.2)
    assert y1 - y0 == pytest.approx(3 * (y1 - y2), abs=0.4)
    training = points(svg, "training")
    assert [y for _, y in training] == pytest.approx([y0 + (y1 - y0) / 3, y2], abs=0.2)
    assert training[0][0] - x0 == pytest.approx((x2 - x0) / 5, abs=0.2)


def test_the_lowest_validation_loss_is_marked() -> None:
    svg = loss_curves(HISTORY)
    x, y = points(svg, "validation")[1]
    assert f'<circle class="validation best" cx="{x}" cy="{y}"' in svg
    assert "step 25: 1.0000" in svg


def test_it_is_well_formed_and_all_of_it_is_inside() -> None:
    root = ElementTree.fromstring(loss_curves(HISTORY))
    _, _, width, height = map(float, root.attrib["viewBox"].split())
    places = [
        *points(loss_curves(HISTORY), "training"),
        *points(loss_curves(HISTORY), "validation"),
    ]
    assert all(0 <= x <= width and 0 <= y <= height for x, y in places)
    assert "style" not in {name for each in root.iter() for name in each.attrib}


def test_losses_that_are_no_numbers_are_passed_over() -> None:
    broken = [{"step": 1, "loss": float("nan")}, {"step": 2, "loss": float("inf")}]
    assert loss_curves(broken) == ""
    assert points(loss_curves([*broken, *HISTORY]), "training") == points(
        loss_curves(HISTORY), "training"
    )


@pytest.mark.parametrize("loss", [0.0, 1e-9, 12345.6])
def test_any_scale_is_drawn(loss: float) -> None:
    assert len(points(loss_curves([{"step": 0, "eval_loss": loss}]), "validation")) == 1
