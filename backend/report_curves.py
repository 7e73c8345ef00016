"""The losses of a training as a picture: SVG without style attributes, for a page's own style."""

import math
from collections.abc import Iterable, Mapping, Sequence

_WIDTH, _HEIGHT = 900, 300
_LEFT, _RIGHT, _TOP, _BOTTOM = 56, 16, 12, 40
_TICKS = 5
_CURVES = (("loss", "training"), ("eval_loss", "validation"))

_Points = list[tuple[float, float]]


def loss_curves(history: Sequence[Mapping[str, float]]) -> str:
    """Training and validation loss against steps; the lowest validation loss is marked.

    Args:
        history: log lines with "step", and "loss" or "eval_loss"; other lines are passed over, and
            so are losses that are no numbers.

    Returns:
        An SVG element, or "" if there is no loss. Its classes: axis, grid, training, validation.
    """
    curves = {name: _points(history, key) for key, name in _CURVES}
    every = [point for points in curves.values() for point in points]
    if not every:
        return ""
    steps = _ticks(max(step for step, _ in every) or 1, whole=True)
    losses = _ticks(max(loss for _, loss in every) or 1)

    def place(step: float, loss: float) -> tuple[float, float]:
        right = (_WIDTH - _LEFT - _RIGHT) * step / steps[-1]
        up = (_HEIGHT - _TOP - _BOTTOM) * loss / losses[-1]
        return round(_LEFT + right, 1), round(_HEIGHT - _BOTTOM - up, 1)

    parts = [_line("grid", place(0, loss), place(steps[-1], loss)) for loss in losses]
    parts += [_text(_LEFT - 8, place(0, loss)[1] + 4, "end", f"{loss:g}") for loss in losses]
    parts += [
        _text(place(step, 0)[0], _HEIGHT - _BOTTOM + 18, "middle", f"{step:g}") for step in steps
    ]
    parts.append(_text(_WIDTH - _RIGHT, _HEIGHT - 4, "end", "steps"))
    for name, points in curves.items():
        places = [place(*point) for point in points]
        joined = " ".join(f"{x},{y}" for x, y in places)
        parts.append(f'<polyline class="{name}" points="{joined}"/>')
        parts += [f'<circle class="{name}" cx="{x}" cy="{y}" r="2.5"/>' for x, y in places]
    if curves["validation"]:
        best = min(curves["validation"], key=lambda point: (point[1], point[0]))
        x, y = place(*best)
        parts.append(
            f'<circle class="validation best" cx="{x}" cy="{y}" r="7">'
            f"<title>step {best[0]:g}: {best[1]:.4f}</title></circle>"
        )
    return (
        f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="losses against steps">'
        f"{''.join(parts)}</svg>"
    )


def _points(history: Iterable[Mapping[str, float]], key: str) -> _Points:
    return [
        (entry["step"], entry[key])
        for entry in history
        if key in entry and "step" in entry and math.isfinite(entry[key])
    ]


def _ticks(most: float, *, whole: bool = False) -> list[float]:
    """Round numbers from 0 to at least `most`, which is above 0."""
    power = 10.0 ** math.floor(math.log10(most / _TICKS))
    if whole:
        power = max(1.0, power)
    step = next(power * factor for factor in (1, 2, 5, 10) if power * factor * _TICKS >= most)
    return [step * number for number in range(math.ceil(most / step) + 1)]


def _line(kind: str, start: tuple[float, float], end: tuple[float, float]) -> str:
    return f'<line class="{kind}" x1="{start[0]}" y1="{start[1]}" x2="{end[0]}" y2="{end[1]}"/>'


def _text(x: float, y: float, anchor: str, text: str) -> str:
    return f'<text class="axis" x="{x}" y="{y}" text-anchor="{anchor}">{text}</text>'
