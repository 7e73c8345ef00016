from typing import Any

import pytest

from backend.context import context_values
from backend.errors import BadRequestError


def number(control: str, value: object) -> dict[str, Any]:
    return {"from_name": control, "to_name": "image", "type": "number", "value": value}


def test_values_of_one_control_the_newest_first() -> None:
    results = [
        number("threshold", {"number": 0.3}),
        number("other", {"number": 7}),
        number("threshold", {"number": 0.4}),
    ]
    assert list(context_values({"result": results}, "threshold")) == [
        {"number": 0.4},
        {"number": 0.3},
    ]


@pytest.mark.parametrize(
    "context",
    [None, {}, {"result": []}, {"result": [None, "text", {}, number("threshold", None)]}],
)
def test_what_is_no_value_is_left_out(context: dict[str, Any] | None) -> None:
    assert list(context_values(context, "threshold")) == []


def test_a_context_of_another_form_is_refused() -> None:
    with pytest.raises(BadRequestError, match="result"):
        list(context_values({"result": "0.3"}, "threshold"))
