"""What a fine-tuning gained and what it cost: figures, a table, and whether the claims hold."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from backend.gate import Comparison
from self1e.evaluate import SampleResult
from self1e.metrics import bootstrap_interval

GAIN = 0.20  # least gain in gIoU on the photos kept aside, and more than chance
LARGEST_LOSS = 0.02  # of gIoU on everything else
MINUTES = 20.0

ALL = "all"
"""Name of what holds all groups together."""


@dataclass(frozen=True)
class Learning:
    """One demonstration.

    Attributes:
        version: name of the version that is served afterwards.
        verdict: what the gate said of it.
        forced: whether it was published although the gate refused it.
        minutes: what the fine-tuning command took.
        taught_photos: how many there were.
        aside: the parts on photos kept aside, all together and one by one.
        general: other samples, all together and file by file; empty if none were given.
    """

    version: str
    verdict: str
    forced: bool
    minutes: float
    taught_photos: int
    aside: Mapping[str, Comparison]
    general: Mapping[str, Comparison]

    def claims(self) -> dict[str, bool]:
        """Each claim that was tried, and whether it holds."""
        aside = self.aside[ALL]
        claims = {
            "the gate let it pass": not self.forced,
            f"parts: {GAIN:+.2f} gIoU or more, the interval above 0": (
                aside.difference >= GAIN and aside.low > 0
            ),
            f"under {MINUTES:.0f} minutes": self.minutes < MINUTES,
        }
        if self.general:
            difference = self.general[ALL].difference
            claims[f"general: not worse than {-LARGEST_LOSS:+.2f} gIoU"] = (
                difference >= -LARGEST_LOSS
            )
        return claims

    def table(self) -> str:
        """Figures and claims, for people."""
        rows = [f"{'':28}{'photos':>7}{'samples':>8}{'before':>8}{'after':>8}  difference (95 %)"]
        for title, comparisons in (("parts", self.aside), ("general", self.general)):
            rows += [_row(f"{title}: {name}", each) for name, each in comparisons.items()]
        rows.append(
            f"{self.version}, taught with {self.taught_photos} photos in "
            f"{self.minutes:.1f} minutes; gate: {self.verdict}"
        )
        rows += [f"{'yes' if holds else 'NO':>4}  {name}" for name, holds in self.claims().items()]
        return "\n".join(rows)

    def as_json(self) -> dict[str, Any]:
        """All of it."""
        return asdict(self) | {"claims": self.claims()}


def compare(before: Sequence[SampleResult], after: Sequence[SampleResult]) -> Comparison:
    """The same samples answered before and after.

    Raises:
        ValueError: there are none.
    """
    differences: dict[Path, list[float]] = {}
    for old, new in zip(before, after, strict=True):
        differences.setdefault(old.sample.image, []).append(new.iou - old.iou)
    low, high = bootstrap_interval(list(differences.values()))
    return Comparison(
        photos=len(differences),
        samples=len(before),
        giou_before=sum(result.iou for result in before) / len(before),
        giou_after=sum(result.iou for result in after) / len(after),
        low=low,
        high=high,
    )


def compare_groups(
    before: Mapping[str, Sequence[SampleResult]], after: Mapping[str, Sequence[SampleResult]]
) -> dict[str, Comparison]:
    """All groups together, then each; nothing if there is no group."""

    def together(groups: Mapping[str, Sequence[SampleResult]]) -> list[SampleResult]:
        return [result for name in before for result in groups[name]]

    if not before:
        return {}
    return {ALL: compare(together(before), together(after))} | {
        name: compare(before[name], after[name]) for name in before
    }


def _row(title: str, compared: Comparison) -> str:
    return (
        f"{title:28}{compared.photos:7}{compared.samples:8}"
        f"{compared.giou_before:8.3f}{compared.giou_after:8.3f}  "
        f"{compared.difference:+.3f} ({compared.low:+.3f} to {compared.high:+.3f})"
    )
