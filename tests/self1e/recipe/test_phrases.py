import re
from random import Random

import pytest

from self1e.recipe.nouns import COMMON_WORDS, SELDOM_NOUNS, USUAL_NOUNS, plural_of
from self1e.recipe.phrases import REFERENCE_KINDS, corpus, phrase, reference_phrase


@pytest.mark.parametrize(
    ("noun", "expected"),
    [
        ("dog", "dogs"),
        ("person", "people"),
        ("bus", "buses"),
        ("dining table", "dining tables"),
        ("toothbrush", "toothbrushes"),
        ("knife", "knives"),
        ("teddy", "teddies"),
        ("donkey", "donkeys"),
        ("jeans", "jeans"),
        ("sheep", "sheep"),
    ],
)
def test_plural_is_english(noun: str, expected: str) -> None:
    assert plural_of(noun) == expected


def drawn(concept: str, *, plural: bool) -> set[str]:
    rng = Random(0)
    return {phrase(concept, rng, plural=plural) for _ in range(400)}


def test_phrases_name_a_concept_in_all_its_words() -> None:
    asked = drawn("sofa", plural=False)
    assert {"sofa", "the sofa", "a sofa", "couch", "the couch"} <= asked
    assert {"all sofas", "couches", "every sofa"} <= drawn("sofa", plural=True)
    assert not any("chair" in text for text in asked)


def test_vowels_take_an() -> None:
    assert "an airplane" in drawn("airplane", plural=False)
    assert "a airplane" not in drawn("airplane", plural=False)


def test_words_of_one_form_take_neither_article_nor_plural() -> None:
    for plural in (False, True):
        asked = drawn("jeans", plural=plural)
        assert "jeans" in asked
        assert not any(re.search(r"\ba\b|every|each|jeanses", text) for text in asked)


def test_the_canonical_name_is_the_most_frequent() -> None:
    rng = Random(1)
    asked = [phrase("tv", rng, plural=False) for _ in range(600)]
    assert sum(text.endswith("tv") for text in asked) > 300


def test_an_untaught_concept_is_an_error() -> None:
    with pytest.raises(KeyError):
        phrase("windscreen", Random(0), plural=False)


@pytest.mark.parametrize(
    ("kind", "word"),
    [
        ("left", "left"),
        ("rightmost", "right"),
        ("top", "top|upper"),
        ("bottom", "bottom|lower"),
        ("largest", "big|larg"),
        ("smallest", "small|little"),
    ],
)
def test_references_say_which_one(kind: str, word: str) -> None:
    known = next(known for known in REFERENCE_KINDS if known == kind)
    rng = Random(0)
    for _ in range(50):
        text = reference_phrase(known, "dog", rng)
        assert re.search(word, text)
        assert "dog" in text


def test_prompts_are_lower_case_and_well_spaced() -> None:
    for line in corpus(0):
        assert line == " ".join(line.lower().split())


def test_corpus_holds_every_prompt_and_common_words() -> None:
    lines = set(corpus(0))
    rng = Random(3)
    for concept in USUAL_NOUNS:
        for plural in (False, True):
            assert phrase(concept, rng, plural=plural) in lines
        for kind in REFERENCE_KINDS:
            assert reference_phrase(kind, concept, rng) in lines
    words = {word for line in lines for word in line.split()}
    assert set(COMMON_WORDS) <= words


def test_corpus_depends_on_the_seed_alone() -> None:
    assert list(corpus(4)) == list(corpus(4))
    assert list(corpus(4)) != list(corpus(5))


def test_no_noun_means_two_concepts() -> None:
    nouns = [
        noun for concept in USUAL_NOUNS for noun in (*USUAL_NOUNS[concept], *SELDOM_NOUNS[concept])
    ]
    doubled = {noun for noun in nouns if nouns.count(noun) > 1}
    assert doubled <= {"dancer"}  # a breakdancer is one too
