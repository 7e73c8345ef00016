"""Whether a trained version may replace the one that is served.

Two comparisons decide: on the project's held-out photos it must be better, beyond chance; on what
was not taught it must not be worse than by a margin. The first alone would let in a version that
learned wrong labels, since held-out labels are then wrong too; so the second and the look of the
labels themselves (`label_warning`) stand beside it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

_FRAME_SHARE = 0.5
_SUSPECT_SHARE = 0.5

GeneralMeasure = Literal["truth", "agreement"]
"""What the second comparison is made with: replay samples with a truth, or the served version's own
answers (`self1e.agreement`)."""


@dataclass(frozen=True)
class Comparison:
    """A new version against the served one, on the same samples.

    gIoU and cIoU of each, 0..1 (cIoU is None where there is no truth); `low` and `high` bound the
    difference in gIoU with 95 % confidence, bootstrapped over photos.
    """

    photos: int
    samples: int
    giou_before: float
    giou_after: float
    low: float
    high: float
    ciou_before: float | None = None
    ciou_after: float | None = None

    @property
    def difference(self) -> float:
        """In gIoU; above 0 the new version is better."""
        return self.giou_after - self.giou_before


@dataclass(frozen=True)
class Verdict:
    """Whether the new version is good enough, and if not, why.

    `less_may_pass`: only that it forgets speaks against it, so that one which keeps less of the
    change may be good enough.
    """

    refusals: tuple[str, ...]
    less_may_pass: bool = False

    @property
    def passed(self) -> bool:
        """Whether nothing speaks against it."""
        return not self.refusals

    def __str__(self) -> str:
        return "passed" if self.passed else " ".join(self.refusals)


def judge(
    held_out: Comparison,
    general: Comparison,
    *,
    measure: GeneralMeasure,
    margin: float,
    warning: str = "",
) -> Verdict:
    """Weighs the comparisons.

    Args:
        held_out: on the project's held-out photos.
        general: on what was not taught.
        measure: what `general` was compared with.
        margin: largest loss of gIoU there, 0..1.
        warning: what is wrong with the labels (`label_warning`).
    """
    refusals = []
    learned, forgot = held_out.low > 0, general.difference < -margin
    if not learned:
        refusals.append(
            "On the held-out photos it is not better beyond chance: gIoU "
            f"{held_out.giou_before:.3f} -> {held_out.giou_after:.3f}, the difference lies between "
            f"{held_out.low:+.3f} and {held_out.high:+.3f}."
        )
    if forgot:
        what = "the replay samples" if measure == "truth" else "prompts that were not taught"
        refusals.append(
            f"On {what} it is worse than the margin of {margin:.3f} allows: gIoU "
            f"{general.giou_before:.3f} -> {general.giou_after:.3f}."
        )
    if warning:
        refusals.append(warning)
    return Verdict(tuple(refusals), less_may_pass=forgot and learned and not warning)


def label_warning(frame_shares: Sequence[tuple[float, float]]) -> str:
    """What is wrong with the labels, empty if nothing is.

    A thing in a photo leaves most of the photo's edge free. Where most masks hold most of the edge
    and of the photo, they mark what is around the thing.

    Args:
        frame_shares: of each mask that is not empty the share of the photo's edge and of the photo
            that it covers, 0..1.
    """
    suspect = sum(edge > _FRAME_SHARE and area > _FRAME_SHARE for edge, area in frame_shares)
    if not frame_shares or suspect <= _SUSPECT_SHARE * len(frame_shares):
        return ""
    return (
        f"{suspect} of {len(frame_shares)} masks cover most of the photo and of its edge: they "
        "look inverted. Look at the annotations; if they are right, use --force."
    )
