"""New labelled images out of labelled ones: crops, flips, mosaics and pasted things.

What composed images say is true by construction: a concept is only kept where every part of the
composition knows about it, and things are only told apart where every one of them is known.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from random import Random

import cv2
import numpy as np
from numpy.typing import NDArray

from self1e.recipe.concepts import WHOLES
from self1e.recipe.photos import BoolMask, LabelledImage, Region

_MOSAIC_SIZE = 480
_FEATHER = 1.2  # blur of a pasted thing's edge, in pixels
_SHARED = 0.02  # of a thing's pixels that may also show something else, to paste it alone
_HIDDEN = 0.5  # a thing covered by more than this by a pasted one makes the paste a bad one


def _map_masks(
    labelled: LabelledImage,
    image: NDArray[np.uint8],
    change: Callable[[BoolMask], BoolMask],
) -> LabelledImage:
    """Apply one geometric change to every mask and drop what is no longer seen."""
    regions = []
    for region in labelled.regions:
        mask = change(region.mask)
        if mask.any():
            things = (change(thing) for thing in region.instances)
            regions.append(
                Region(region.concept, mask, tuple(thing for thing in things if thing.any()))
            )
    ignore = None if labelled.ignore is None else change(labelled.ignore)
    return LabelledImage(image, tuple(regions), ignore, labelled.known_concepts)


def crop(labelled: LabelledImage, top: int, left: int, height: int, width: int) -> LabelledImage:
    """Cut a window out of an image; concepts outside the window are no longer in it."""
    window = (slice(top, top + height), slice(left, left + width))
    return _map_masks(labelled, labelled.image[window], lambda mask: mask[window])


def flip(labelled: LabelledImage) -> LabelledImage:
    """Mirror an image left to right."""
    image = np.ascontiguousarray(labelled.image[:, ::-1])
    return _map_masks(labelled, image, lambda mask: mask[:, ::-1])


def resize(labelled: LabelledImage, height: int, width: int) -> LabelledImage:
    """Scale an image to a new size in pixels."""
    shrinks = height < labelled.size[0]
    how = cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC

    def change(mask: BoolMask) -> BoolMask:
        scaled = cv2.resize(mask.astype(np.uint8), (width, height), interpolation=cv2.INTER_NEAREST)
        return np.asarray(scaled, dtype=np.bool_)

    scaled = cv2.resize(labelled.image, (width, height), interpolation=how)
    return _map_masks(labelled, np.asarray(scaled, dtype=np.uint8), change)


def random_crop(labelled: LabelledImage, rng: Random, *, aspect: float | None) -> LabelledImage:
    """Cut out a window that holds most of one region, drawn by chance.

    Args:
        labelled: The image to cut.
        rng: Where the draws come from.
        aspect: Width over height the window should come near; None keeps the image's own, about.
    """
    height, width = labelled.size
    if not labelled.regions:
        return labelled
    mask = rng.choice(labelled.regions).mask
    rows = np.flatnonzero(mask.any(axis=1))
    columns = np.flatnonzero(mask.any(axis=0))
    share = rng.uniform(0.55, 1.0)
    tall, wide = share * height, share * width
    if aspect is None:
        stretch = rng.uniform(0.85, 1.18)
        tall, wide = tall * stretch, wide / stretch
    elif wide / tall > aspect:
        wide = tall * aspect
    else:
        tall = wide / aspect
    tall = min(height, max(round(tall), round(0.9 * (rows[-1] - rows[0] + 1)), 48))
    wide = min(width, max(round(wide), round(0.9 * (columns[-1] - columns[0] + 1)), 48))
    top = _place_window(int(rows[0]), int(rows[-1]), tall, height, rng)
    left = _place_window(int(columns[0]), int(columns[-1]), wide, width, rng)
    return crop(labelled, top, left, tall, wide)


def _place_window(first: int, last: int, length: int, limit: int, rng: Random) -> int:
    """Draw where a window starts so that it covers [first, last], or lies in it if shorter."""
    low, high = sorted((last + 1 - length, first))
    return min(max(rng.randint(low, high), 0), limit - length)


def mosaic(parts: Sequence[LabelledImage], *, side_by_side: bool) -> LabelledImage | None:
    """Put two images next to each other, or one above the other.

    Args:
        parts: Two images; each is scaled to its half, so its shape should be near that.
        side_by_side: Left and right halves instead of top and bottom ones.

    Returns:
        The composition, or None where no concept of it is known in both halves.
    """
    half = _MOSAIC_SIZE // 2
    height, width = (_MOSAIC_SIZE, half) if side_by_side else (half, _MOSAIC_SIZE)
    halves = [resize(part, height, width) for part in parts]
    offsets = [(0, at * half) if side_by_side else (at * half, 0) for at in range(2)]

    def widen(mask: BoolMask, at: int) -> BoolMask:
        whole = np.zeros((_MOSAIC_SIZE, _MOSAIC_SIZE), dtype=np.bool_)
        top, left = offsets[at]
        whole[top : top + height, left : left + width] = mask
        return whole

    found = [{region.concept: region for region in part.regions} for part in halves]
    regions = []
    for concept in dict.fromkeys([*found[0], *found[1]]):
        holders = [at for at in range(2) if concept in found[at]]
        if any(at not in holders and concept not in halves[at].known_concepts for at in range(2)):
            continue
        mask = np.logical_or.reduce([widen(found[at][concept].mask, at) for at in holders])
        told_apart = all(found[at][concept].instances for at in holders)
        things = [widen(t, at) for at in holders for t in found[at][concept].instances]
        regions.append(Region(concept, mask, tuple(things) if told_apart else ()))
    if not regions:
        return None
    ignored = [widen(part.ignore, at) for at, part in enumerate(halves) if part.ignore is not None]
    image = np.concatenate([part.image for part in halves], axis=1 if side_by_side else 0)
    known = halves[0].known_concepts & halves[1].known_concepts
    # What was seen and left out is neither absent nor wholly marked.
    known -= (frozenset(found[0]) | frozenset(found[1])) - {region.concept for region in regions}
    ignore = np.logical_or.reduce(ignored) if ignored else None
    return LabelledImage(image, tuple(regions), ignore, known)


def paste(
    onto: LabelledImage,
    source: LabelledImage,
    concept: str,
    rng: Random,
) -> LabelledImage | None:
    """Paste one thing of another image somewhere onto an image.

    Args:
        onto: The image that receives it; all things of the concept must be marked in it.
        source: The image that holds it.
        concept: What it is; one of `source`'s regions, with its things told apart.
        rng: Draws which one, its size and its place.

    Returns:
        The composition, or None where it would not fit, hide too much or not be known.
    """
    region = next(region for region in source.regions if region.concept == concept)
    there = {present.concept for present in onto.regions}
    if concept not in there | onto.known_concepts or not region.instances:
        return None
    thing = rng.choice(region.instances)
    wholes = {whole for whole, members in WHOLES.items() if concept in members}
    if any(
        (other.mask & thing).sum() > _SHARED * thing.sum()
        for other in source.regions
        if other.concept not in wholes | {concept}
    ):
        return None
    rows = np.flatnonzero(thing.any(axis=1))
    columns = np.flatnonzero(thing.any(axis=0))
    if rows[0] == 0 or columns[0] == 0 or columns[-1] == thing.shape[1] - 1:
        return None  # the photo cuts it off; only a missing lower end looks natural elsewhere
    window = (slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1))
    scale = rng.uniform(0.25, 0.55) * max(onto.size) / max(rows.size, columns.size)
    tall, wide = round(scale * rows.size), round(scale * columns.size)
    height, width = onto.size
    if scale > 2.0 or not (8 <= tall < height and 8 <= wide < width):
        return None
    soft = cv2.resize(thing[window].astype(np.float32), (wide, tall), interpolation=cv2.INTER_AREA)
    pixels = cv2.resize(source.image[window], (wide, tall), interpolation=cv2.INTER_AREA)
    if rng.random() < 0.5:
        soft, pixels = soft[:, ::-1], pixels[:, ::-1]
    cut_off = rows[-1] == thing.shape[0] - 1
    top = height - tall if cut_off else rng.randint(0, height - tall)
    left = rng.randint(0, width - wide)
    where = (slice(top, top + tall), slice(left, left + wide))
    pasted = np.zeros(onto.size, dtype=np.bool_)
    pasted[where] = soft > 0.5
    things_there = [thing for r in onto.regions for thing in (r.mask, *r.instances)]
    if any((other & pasted).sum() > _HIDDEN * other.sum() for other in things_there):
        return None
    alpha = cv2.GaussianBlur(np.ascontiguousarray(soft), (0, 0), _FEATHER)[..., None]
    image = onto.image.copy()
    image[where] = np.round(alpha * pixels + (1 - alpha) * image[where]).astype(np.uint8)
    covered = _map_masks(onto, image, lambda mask: mask & ~pasted)
    regions = {region.concept: region for region in covered.regions}
    before = regions.get(concept, Region(concept, np.zeros_like(pasted)))
    told_apart = bool(before.instances) or not before.mask.any()
    things = (*before.instances, pasted) if told_apart else ()
    regions[concept] = Region(concept, before.mask | pasted, things)
    for whole in wholes:
        rest = regions[whole].mask if whole in regions else np.zeros_like(pasted)
        regions[whole] = Region(whole, rest | pasted)
    return replace(covered, regions=tuple(regions.values()))
