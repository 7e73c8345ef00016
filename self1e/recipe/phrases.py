"""What a person may type to ask for a thing: the prompts the demo model is trained on."""

from collections.abc import Iterator
from random import Random
from typing import Literal

from self1e.recipe.nouns import (
    COMMON_WORDS,
    SELDOM_NOUNS,
    USUAL_NOUNS,
    has_one_form,
    plural_of,
)

ReferenceKind = Literal[
    "left", "right", "leftmost", "rightmost", "top", "bottom", "largest", "smallest"
]

_SELDOM = 0.06  # chance of a noun that only sometimes fits
_CANONICAL = 0.65  # chance of a concept's first noun, the one data sets and labels use

_SINGULAR = ("{n}", "{n}", "{n}", "the {n}", "the {n}", "{a} {n}")
_PLURAL = ("{ns}", "{ns}", "the {ns}", "all {ns}", "all the {ns}", "every {n}", "each {n}")
_ONE_FORM = ("{n}", "{n}", "{n}", "the {n}", "the {n}", "all the {n}")
_REFERENCES: dict[ReferenceKind, tuple[str, ...]] = {
    "left": (
        "the left {n}",
        "left {n}",
        "{n} on the left",
        "the {n} on the left",
        "the {n} on the left side",
        "the {n} to the left",
    ),
    "right": (
        "the right {n}",
        "right {n}",
        "{n} on the right",
        "the {n} on the right",
        "the {n} on the right side",
        "the {n} to the right",
    ),
    "leftmost": ("the leftmost {n}", "leftmost {n}", "the {n} on the far left"),
    "rightmost": ("the rightmost {n}", "rightmost {n}", "the {n} on the far right"),
    "top": ("the top {n}", "the upper {n}", "the {n} at the top", "{n} at the top"),
    "bottom": ("the bottom {n}", "the lower {n}", "the {n} at the bottom", "{n} at the bottom"),
    "largest": ("the largest {n}", "the biggest {n}", "the big {n}", "the larger {n}"),
    "smallest": ("the smallest {n}", "the small {n}", "the little {n}", "the smaller {n}"),
}
REFERENCE_KINDS: tuple[ReferenceKind, ...] = tuple(_REFERENCES)


def _draw_noun(concept: str, rng: Random) -> str:
    usual = USUAL_NOUNS[concept]
    seldom = SELDOM_NOUNS[concept]
    if seldom and rng.random() < _SELDOM:
        return rng.choice(seldom)
    if len(usual) > 1 and rng.random() > _CANONICAL:
        return rng.choice(usual[1:])
    return usual[0]


def _fill(template: str, noun: str) -> str:
    article = "an" if noun[0] in "aeiou" else "a"
    return template.format(n=noun, ns=plural_of(noun), a=article)


def _templates(noun: str, *, plural: bool) -> tuple[str, ...]:
    if has_one_form(noun):
        return _ONE_FORM
    if noun == "somebody":
        return ("somebody",)
    return _PLURAL if plural else _SINGULAR


def phrase(concept: str, rng: Random, *, plural: bool) -> str:
    """Draw a phrase that asks for all of a concept: "dog", "the couch", "all people".

    Args:
        concept: Canonical name, one of `nouns.USUAL_NOUNS`.
        rng: Where the draw comes from.
        plural: Whether to name it in the plural; nouns of one form ("jeans") ignore this.

    Raises:
        KeyError: If the concept is not one the demo model is taught.
    """
    noun = _draw_noun(concept, rng)
    return _fill(rng.choice(_templates(noun, plural=plural)), noun)


def reference_phrase(kind: ReferenceKind, concept: str, rng: Random) -> str:
    """Draw a phrase that asks for one of several: "the left dog", "the biggest dog".

    Args:
        kind: Which one is meant.
        concept: Canonical name, one of `nouns.USUAL_NOUNS`.
        rng: Where the draw comes from.

    Raises:
        KeyError: If the concept is not one the demo model is taught.
    """
    usual = USUAL_NOUNS[concept]
    noun = usual[0] if rng.random() < _CANONICAL else rng.choice(usual)
    return _fill(rng.choice(_REFERENCES[kind]), noun)


def corpus(seed: int) -> Iterator[str]:
    """Yield lines to train a small tokenizer on: every prompt that can be drawn, and common words.

    Each canonical noun also comes alone several times, so that it becomes one token or few.

    Args:
        seed: Orders the common words into lines.
    """
    rng = Random(seed)
    for concept, usual in USUAL_NOUNS.items():
        for noun in (*usual, *SELDOM_NOUNS[concept]):
            yield from (noun, plural_of(noun))
            for plural in (False, True):
                yield from (_fill(t, noun) for t in _templates(noun, plural=plural))
            for templates in _REFERENCES.values():
                yield from (_fill(t, noun) for t in templates)
    words = list(COMMON_WORDS)
    for _ in range(20):
        rng.shuffle(words)
        yield from (" ".join(words[at : at + 6]) for at in range(0, len(words), 6))
