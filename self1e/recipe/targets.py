"""Prompts of one training view and the mask each asks for, drawn afresh at every step."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from random import Random
from typing import Literal, TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray

from self1e.recipe.concepts import WHOLES, Source, is_part
from self1e.recipe.photos import BoolMask
from self1e.recipe.phrases import REFERENCE_KINDS, ReferenceKind, phrase, reference_phrase

MASK_SIZE = 128  # side of a target mask, as the training loss takes it

_T = TypeVar("_T")
TargetKind = Literal["category", "part", "reference", "absent"]

_SMALLEST_AREA = 0.002  # share of the view below which a thing is not asked for
_APART = 0.08  # of the view's side between centres, to call one the left one
_LARGER = 1.5  # ratio of areas, to call one the largest
_REFERENCE_SHARE = 0.6  # of the asked things, where there are references to draw
_WHOLE_SHARE = 0.25  # of draws in which "animal" may be asked for as well as "dog"
_PLURAL = 0.1
_PLURAL_OF_SEVERAL = 0.35
_ABSENT_REFERENCE = 0.1


def shrink_mask(mask: BoolMask) -> BoolMask:
    """Reduce an (H, W) mask to (MASK_SIZE, MASK_SIZE): a pixel is set where most of it was."""
    side = (MASK_SIZE, MASK_SIZE)
    shares = cv2.resize(mask.astype(np.uint8) * 255, side, interpolation=cv2.INTER_AREA)
    return np.asarray(shares > 127, dtype=np.bool_)


@dataclass(frozen=True)
class Mark:
    """A mask of a view, kept small.

    Attributes:
        packed: (MASK_SIZE * MASK_SIZE / 8,) uint8, the mask's bits.
        area: Share of the view, 0 to 1.
        centre: Mean (x, y) of the mask, 0 to 1; meaningless where the area is 0.
    """

    packed: NDArray[np.uint8]
    area: float
    centre: tuple[float, float]

    @classmethod
    def of(cls, mask: BoolMask) -> "Mark":
        """Pack a (MASK_SIZE, MASK_SIZE) mask."""
        rows, columns = np.nonzero(mask)
        centre = (0.5, 0.5)
        if rows.size:
            centre = (float(columns.mean()) / MASK_SIZE, float(rows.mean()) / MASK_SIZE)
        return cls(np.packbits(mask), rows.size / mask.size, centre)

    @property
    def mask(self) -> BoolMask:
        """The (MASK_SIZE, MASK_SIZE) mask."""
        return np.unpackbits(self.packed).view(np.bool_).reshape(MASK_SIZE, MASK_SIZE)


@dataclass(frozen=True)
class View:
    """One training picture and all that is known of it.

    Attributes:
        pixels: (S, S, 3) uint8 RGB; (0, 0, 3) once dropped.
        regions: Concept to all its pixels.
        instances: Concept to its things, where all of them are told apart.
        ignored: Pixels of which nothing is known; None when there are none.
        absent: Concepts that are not in the view, each as often as it should be asked for.
        source: Where the (main) photo comes from.
    """

    pixels: NDArray[np.uint8]
    regions: Mapping[str, Mark]
    instances: Mapping[str, tuple[Mark, ...]]
    ignored: Mark | None
    absent: tuple[str, ...]
    source: Source

    @property
    def ignore(self) -> BoolMask | None:
        """(MASK_SIZE, MASK_SIZE) bool, pixels that must not count; None when all do."""
        return None if self.ignored is None else self.ignored.mask

    def without_pixels(self) -> "View":
        """Return the view's marks alone, to keep once its features are computed."""
        nothing = np.zeros((0, 0, 3), dtype=np.uint8)
        return View(nothing, self.regions, self.instances, self.ignored, self.absent, self.source)


@dataclass(frozen=True)
class Target:
    """A prompt and what it asks for.

    Attributes:
        prompt: Lower-case phrase.
        mask: (MASK_SIZE, MASK_SIZE) bool; empty for an absent thing.
        kind: What sort of question it is.
        concept: Canonical name of what is asked for.
    """

    prompt: str
    mask: BoolMask
    kind: TargetKind
    concept: str


def references(things: Sequence[Mark]) -> list[tuple[ReferenceKind, int]]:
    """Return which of several things of one concept can be told by place or size.

    Args:
        things: All things of the concept in a view.

    Returns:
        Kind of reference and index of the thing it means; only unambiguous ones, and none for
        things too small to ask for.
    """
    if len(things) < 2:
        return []
    found: list[tuple[ReferenceKind, int]] = []
    for kind in REFERENCE_KINDS:
        pairwise = kind in ("left", "right", "top", "bottom")
        if pairwise and len(things) > 2:
            continue
        best, margin = _foremost(things, kind)
        enough = _LARGER if kind in ("largest", "smallest") else _APART
        if margin >= enough and things[best].area >= _SMALLEST_AREA:
            found.append((kind, best))
    return found


def _foremost(things: Sequence[Mark], kind: ReferenceKind) -> tuple[int, float]:
    """Return the thing a reference means and how far it is ahead of the next one."""
    if kind in ("largest", "smallest"):
        values = [thing.area for thing in things]
    else:
        axis = 0 if kind in ("left", "leftmost", "right", "rightmost") else 1
        values = [thing.centre[axis] for thing in things]
    last = kind in ("right", "rightmost", "bottom", "largest")
    order = sorted(range(len(values)), key=values.__getitem__, reverse=last)
    first, second = values[order[0]], values[order[1]]
    if kind in ("largest", "smallest"):
        low, high = sorted((first, second))
        return order[0], high / low if low else 0.0
    return order[0], abs(first - second)


def draw_targets(view: View, rng: Random, n: int, *, absent: float) -> list[Target]:
    """Draw prompts of a view: different concepts first, so that the text has to be read.

    Args:
        view: What is asked about.
        rng: Where the draws come from.
        n: How many prompts; fewer come back only where nothing at all can be asked.
        absent: Expected share of prompts that ask for what is not there.
    """
    asked = [c for c, mark in view.regions.items() if mark.area >= _SMALLEST_AREA]
    if rng.random() >= _WHOLE_SHARE:
        asked = [concept for concept in asked if concept not in WHOLES] or asked
    told = [(c, *which) for c, things in view.instances.items() for which in references(things)]
    missing = sum(rng.random() < absent for _ in range(n)) if view.absent else 0
    if not asked:
        missing = n if view.absent else 0
    present = n - missing if asked else 0
    referred = sum(rng.random() < _REFERENCE_SHARE for _ in range(present)) if told else 0
    targets = [_refer(view, *which, rng) for which in _several(told, referred, rng)]
    targets += [_ask(view, concept, rng) for concept in _several(asked, present - referred, rng)]
    targets += [_ask_absent(concept, rng) for concept in _several(view.absent, missing, rng)]
    rng.shuffle(targets)
    return targets


def _several(choices: Sequence[_T], count: int, rng: Random) -> list[_T]:
    """Draw items, none a second time before all were drawn once."""
    drawn: list[_T] = []
    while len(drawn) < count:
        drawn += rng.sample(choices, min(len(choices), count - len(drawn)))
    return drawn


def _ask(view: View, concept: str, rng: Random) -> Target:
    several = len(view.instances.get(concept, ())) != 1
    plural = rng.random() < (_PLURAL_OF_SEVERAL if several else _PLURAL)
    kind: TargetKind = "part" if is_part(concept) else "category"
    prompt = phrase(concept, rng, plural=plural)
    return Target(prompt, view.regions[concept].mask, kind, concept)


def _refer(view: View, concept: str, kind: ReferenceKind, which: int, rng: Random) -> Target:
    prompt = reference_phrase(kind, concept, rng)
    return Target(prompt, view.instances[concept][which].mask, "reference", concept)


def _ask_absent(concept: str, rng: Random) -> Target:
    if rng.random() < _ABSENT_REFERENCE:
        prompt = reference_phrase(rng.choice(REFERENCE_KINDS), concept, rng)
    else:
        prompt = phrase(concept, rng, plural=rng.random() < _PLURAL_OF_SEVERAL)
    return Target(prompt, np.zeros((MASK_SIZE, MASK_SIZE), dtype=np.bool_), "absent", concept)
