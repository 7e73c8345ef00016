"""Controls of the labeling config that say how masks are made, found by their names.

- `<Number name="threshold" toName="image" defaultValue="0.5" min="0" max="1" step="0.05"/>`: the
  probability from which on a pixel belongs to the mask.
- `<Choices name="mode" toName="image">` with the choices "one", "each instance" and "everything":
  which pieces of the mask become regions.

In an interactive request they are what the annotator has set, else (and in a batch) the defaults
that the config itself gives them.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import Field

from backend.config_tags import ConfigTag
from backend.context import context_values
from backend.errors import BadRequestError, LabelConfigError

DEFAULT_THRESHOLD = 0.5

MaskMode = Literal["everything", "each", "one"]
"""Which pieces of a mask become regions: all in one, each in its own, or the largest only."""

_MODES: Mapping[str, MaskMode] = {
    "one": "one",
    "each": "each",
    "each instance": "each",
    "everything": "everything",
    "all": "everything",
}


@dataclass(frozen=True)
class MaskParameters:
    """How a mask is made.

    `threshold` is the probability, 0..1, above which a pixel belongs to the mask. `mode` says what
    becomes of the mask's pieces: pixels that touch, which two objects side by side do, and the
    halves of one object behind a pole do not.
    """

    threshold: Annotated[float, Field(ge=0, le=1)] = DEFAULT_THRESHOLD
    mode: MaskMode = "everything"


@dataclass(frozen=True)
class ThresholdControl:
    """The Number that sets the threshold; `default` is what the config gives, 0..1."""

    name: str
    default: float = DEFAULT_THRESHOLD

    def read(self, context: Mapping[str, Any] | None) -> float:
        """The newest number in the context, else the default.

        Raises:
            BadRequestError: the context is not what Label Studio sends, or the number is not from
                0 to 1.
        """
        for value in context_values(context, self.name):
            number = value.get("number")
            if number is None:
                continue
            if isinstance(number, bool | str) or (share := _share(number)) is None:
                raise BadRequestError(f'"{self.name}" is {number!r}; it must be from 0 to 1.')
            return share
        return self.default


@dataclass(frozen=True)
class ModeControl:
    """The Choices that sets the mode.

    `modes` are the modes by the choices that mean them, as results carry these (alias beats value);
    a choice that is not among them means everything. `default` is what is selected at first.
    """

    name: str
    modes: Mapping[str, MaskMode]
    default: MaskMode = "everything"

    def read(self, context: Mapping[str, Any] | None) -> MaskMode:
        """The mode of the newest choice in the context, else the default.

        Raises:
            BadRequestError: the context is not what Label Studio sends.
        """
        for value in context_values(context, self.name):
            chosen = value.get("choices")
            if isinstance(chosen, list) and chosen:
                return self._mode(chosen)
        return self.default

    def _mode(self, chosen: Sequence[Any]) -> MaskMode:
        """The mode of the first choice that means one."""
        known = (self.modes[each] for each in chosen if isinstance(each, str) if each in self.modes)
        return next(known, "everything")


@dataclass(frozen=True)
class ParameterControls:
    """The controls that a labeling config has for the parameters."""

    threshold: ThresholdControl | None = None
    mode: ModeControl | None = None

    def read(self, context: Mapping[str, Any] | None) -> MaskParameters:
        """The parameters of a request.

        Args:
            context: the annotator's results on the image (interactive), or None (batch).

        Raises:
            BadRequestError: the context is not what Label Studio sends, or the threshold is not
                from 0 to 1.
        """
        return MaskParameters(
            DEFAULT_THRESHOLD if self.threshold is None else self.threshold.read(context),
            "everything" if self.mode is None else self.mode.read(context),
        )


def find_parameter_controls(tags: Sequence[ConfigTag], image: str) -> ParameterControls:
    """The parameters' controls of an image.

    A project may have a Choices called "mode" for purposes of its own: it is ours if one of its
    choices is "one", "each instance" or "each", by value or alias.

    Raises:
        LabelConfigError: the threshold's default is not from 0 to 1.
    """
    of_image = [tag for tag in tags if image in tag.targets and not tag.says("perregion", "true")]
    thresholds = (
        _threshold_control(tag)
        for tag in of_image
        if tag.kind == "number" and tag.says("name", "threshold")
    )
    modes = (
        control
        for tag in of_image
        if tag.kind == "choices" and tag.says("name", "mode")
        if (control := _mode_control(tag)) is not None
    )
    return ParameterControls(next(thresholds, None), next(modes, None))


def _threshold_control(tag: ConfigTag) -> ThresholdControl:
    default = tag.attributes.get("defaultvalue", "").strip()
    if not default:
        return ThresholdControl(tag.name)
    if (share := _share(default)) is None:
        raise LabelConfigError(
            f'The Number tag "{tag.name}" is the probability from which on a pixel belongs to the '
            f'mask: its defaultValue must be from 0 to 1, not "{default}". If it is meant for '
            "something else, give it another name."
        )
    return ThresholdControl(tag.name, share)


def _mode_control(tag: ConfigTag) -> ModeControl | None:
    modes: dict[str, MaskMode] = {}
    default: MaskMode = "everything"
    for choice in tag.choices:
        names = [choice[key] for key in ("alias", "value") if choice.get(key)]
        known = (_MODES[key] for name in names if (key := name.strip().casefold()) in _MODES)
        if (mode := next(known, None)) is not None:
            modes[names[0]] = mode
            if choice.get("selected", "").strip().lower() == "true":
                default = mode
    return ModeControl(tag.name, modes, default) if set(modes.values()) - {"everything"} else None


def _share(number: Any) -> float | None:
    """The number as a float, or None if it is none from 0 to 1."""
    try:
        share = float(number)
    except (TypeError, ValueError, OverflowError):
        return None
    return share if 0 <= share <= 1 else None
