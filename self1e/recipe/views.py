"""Training views of labelled photos: which photos, how changed, and what can be asked of each."""

from collections import Counter
from collections.abc import Mapping, Sequence
from random import Random

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from self1e.recipe.compose import flip, mosaic, paste, random_crop
from self1e.recipe.concepts import Source, surely_absent
from self1e.recipe.photos import LabelledImage, Photo
from self1e.recipe.targets import Mark, Target, View, draw_targets, shrink_mask

__all__ = ["Target", "View", "draw_targets", "make_view", "plan_views"]

_MOSAIC = 0.3  # chance of a two-photo view
_PASTE = 0.3  # chance of a view with pasted things
_PASTED_SOURCES = ("coco128", "voc")
_PASTED_AREA = (0.02, 0.5)  # share of its photo that a thing to paste covers
_SAME = 0.6  # chance to look for a partner that shows the same, to be told apart by place or size
_LOOKS = 30  # photos looked at for it
_ATTEMPTS = 4  # partners tried for a composition
_ABSENT_DRAWS = 32  # concepts kept per view to ask for in vain
_PLAIN = 0.15  # share of planned views that are the photo as it is
# Views per photo for each view of a voc photo: small sources are shown more often.
_SHOWN: Mapping[Source, float] = {
    "voc": 1.0,
    "ccp": 1.5,
    "coco128": 10.0,
    "people": 0.8,
    "davis": 3.0,
    "faces": 2.0,
}
_RARE = 60  # photos of a concept below which its photos are shown more often
_RARE_LIMIT = 4.0


def plan_views(photos: Sequence[Photo], n: int, rng: Random) -> list[tuple[Photo, bool]]:
    """Choose the photos of n views, rare concepts and small sources more often.

    Args:
        photos: The photos to train on.
        n: Number of views.
        rng: Where the draws come from.

    Returns:
        n pairs in random order: a photo, and whether to augment its view.
    """
    common = Counter(concept for photo in photos for concept in photo.concepts)
    shares = [_SHOWN[photo.source] * _rarity(photo, common) for photo in photos]
    scale = n / sum(shares)
    counts = [int(share * scale) for share in shares]
    left = n - sum(counts)
    remainders = [share * scale - count for share, count in zip(shares, counts, strict=True)]
    for at in sorted(range(len(photos)), key=lambda at: -remainders[at])[:left]:
        counts[at] += 1
    plan = [
        (photo, rng.random() >= _PLAIN)
        for photo, count in zip(photos, counts, strict=True)
        for _ in range(count)
    ]
    rng.shuffle(plan)
    return plan


def _rarity(photo: Photo, common: Mapping[str, int]) -> float:
    if not photo.concepts or photo.source in ("ccp", "coco128", "davis"):
        return 1.0
    rarest = min(common[concept] for concept in photo.concepts)
    return float(min(_RARE_LIMIT, max(1.0, (_RARE / rarest) ** 0.5)))


def make_view(
    photo: Photo,
    rng: Random,
    size: int,
    *,
    augment: bool,
    others: Sequence[Photo],
) -> View:
    """Make one training view of a photo, squashed to a square as the model does.

    Args:
        photo: The main photo.
        rng: Where the draws come from.
        size: Side of the view in pixels.
        augment: Whether to crop, flip, recolour and compose; otherwise the photo as it is.
        others: Photos to compose with. What they show is what the view is asked for in vain,
            so that a word is not known by being asked for only where there is nothing.

    Raises:
        FileNotFoundError: If a photo is gone.
    """
    labelled = photo.load()
    if augment:
        labelled = _augment(labelled, rng, others)
    pixels = Image.fromarray(labelled.image).resize((size, size), Image.Resampling.BICUBIC)
    regions = {region.concept: Mark.of(shrink_mask(region.mask)) for region in labelled.regions}
    return View(
        pixels=np.asarray(pixels),
        regions=regions,
        instances={
            region.concept: tuple(Mark.of(shrink_mask(thing)) for thing in region.instances)
            for region in labelled.regions
            if region.instances
        },
        ignored=None if labelled.ignore is None else Mark.of(shrink_mask(labelled.ignore)),
        absent=_draw_absent(labelled, photo.source, rng, others),
        source=photo.source,
    )


def _draw_absent(
    labelled: LabelledImage, source: Source, rng: Random, others: Sequence[Photo]
) -> tuple[str, ...]:
    """Draw concepts that are not there, as often as other photos show them.

    Half of the photos are of the view's own source, whose concepts are more easily mistaken for
    what is there than things of another world.
    """
    absent = surely_absent(labelled.known_concepts, [r.concept for r in labelled.regions])
    alike = [other for other in others if other.source == source]
    drawn: list[str] = []
    for at in range(8 * _ABSENT_DRAWS if absent and others else 0):
        concepts = rng.choice(alike if at % 2 and alike else others).concepts & absent
        if concepts:
            drawn.append(rng.choice(sorted(concepts)))
        if len(drawn) == _ABSENT_DRAWS:
            break
    return tuple(drawn)


def _augment(labelled: LabelledImage, rng: Random, others: Sequence[Photo]) -> LabelledImage:
    composed: LabelledImage | None = None
    kind = rng.random()
    if others and kind < _MOSAIC:
        composed = _make_mosaic(labelled, rng, others)
    if composed is None:
        composed = random_crop(labelled, rng, aspect=None) if rng.random() < 0.8 else labelled
        if others and _MOSAIC <= kind < _MOSAIC + _PASTE:
            composed = _paste_things(composed, rng, others)
    if rng.random() < 0.5:
        composed = flip(composed)
    return LabelledImage(
        _recolour(composed.image, rng), composed.regions, composed.ignore, composed.known_concepts
    )


def _choose_partner(labelled: LabelledImage, rng: Random, others: Sequence[Photo]) -> Photo:
    """Draw a photo, preferably one that also shows something told apart in an image."""
    single = {region.concept for region in labelled.regions if region.instances}
    if single and rng.random() < _SAME:
        for _ in range(_LOOKS):
            partner = rng.choice(others)
            if partner.concepts & single:
                return partner
    return rng.choice(others)


def _make_mosaic(
    labelled: LabelledImage, rng: Random, others: Sequence[Photo]
) -> LabelledImage | None:
    side_by_side = rng.random() < 0.6
    aspect = 0.5 if side_by_side else 2.0
    aspect *= rng.uniform(0.8, 1.6) if side_by_side else rng.uniform(0.6, 1.2)
    for _ in range(_ATTEMPTS):
        partner = _choose_partner(labelled, rng, others).load()
        parts = [random_crop(part, rng, aspect=aspect) for part in (labelled, partner)]
        rng.shuffle(parts)
        made = mosaic(parts, side_by_side=side_by_side)
        if made is not None:
            return made
    return None


def _paste_things(labelled: LabelledImage, rng: Random, others: Sequence[Photo]) -> LabelledImage:
    """Paste one or two things onto an image, if any fit; two are often of one concept."""
    for _ in range(rng.randint(1, 2)):
        present = {region.concept for region in labelled.regions}
        for _ in range(_ATTEMPTS):
            partner = _choose_partner(labelled, rng, others)
            if partner.source not in _PASTED_SOURCES:
                continue
            source = partner.load()
            things = [
                region.concept
                for region in source.regions
                if any(
                    _PASTED_AREA[0] < thing.mean() < _PASTED_AREA[1] for thing in region.instances
                )
            ]
            there = [thing for thing in things if thing in present]
            pasted = paste(labelled, source, rng.choice(there or things), rng) if things else None
            if pasted is not None:
                labelled = pasted
                break
    return labelled


def _recolour(image: NDArray[np.uint8], rng: Random) -> NDArray[np.uint8]:
    """Change brightness, contrast and saturation a little; seldom drop the colour."""
    values = image.astype(np.float32)
    grey = values @ np.array([0.299, 0.587, 0.114], dtype=np.float32)
    saturation = 0.0 if rng.random() < 0.04 else rng.uniform(0.6, 1.4)
    values = grey[..., None] + saturation * (values - grey[..., None])
    values = grey.mean() + rng.uniform(0.75, 1.25) * (values - grey.mean())
    values *= rng.uniform(0.75, 1.25)
    return np.asarray(np.clip(values, 0, 255), dtype=np.uint8)
