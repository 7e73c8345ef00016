"""Finds the label that a text names: without case, in the singular or the plural."""

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from backend.label_config import Label

_WORD = re.compile(
    # Scripts without spaces (Thai to Khmer, Kana, Han) give one word per character, so that a
    # label is found inside a sentence.
    r"[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff]"
    r"|[’']s\b|[^\W_]+"
)
_POSSESSIVES = {"'s", "’s"}
_SINGULARS = {
    "people": "person",
    "men": "man",
    "women": "woman",
    "children": "child",
    "feet": "foot",
    "teeth": "tooth",
    "geese": "goose",
    "mice": "mouse",
    "oxen": "ox",
    "knives": "knife",
    "wives": "wife",
    "lives": "life",
    "leaves": "leaf",
    "loaves": "loaf",
    "halves": "half",
    "calves": "calf",
    "shelves": "shelf",
    "wolves": "wolf",
    "scarves": "scarf",
    "thieves": "thief",
    "hooves": "hoof",
}


def label_called(name: str, labels: Sequence[Label]) -> Label | None:
    """The first label whose value or alias is this name, or None."""
    forms = _word_forms(name)
    for label in labels:
        if forms and any(_same(forms, _word_forms(each)) for each in _names(label)):
            return label
    return None


def label_named_in(text: str, labels: Sequence[Label]) -> Label | None:
    """The label whose value or alias occurs in the text as whole words, or None.

    Of names that overlap in the text the longest wins ("traffic light" over "light"); of others the
    first, since English says the thing itself first: "the car behind the person" is a car. An owner
    comes last: "the person's car" is a car, too.
    """
    words = _words(text)
    forms = [_forms(word) for word in words]
    places = defaultdict[str, list[int]](list)
    for place, word_forms in enumerate(forms):
        for form in word_forms:
            places[form].append(place)

    mentions = []
    longest = [0] * len(words)  # the length of the longest mention that covers each word
    for label in labels:
        for name in _names(label):
            wanted = _word_forms(name)
            for start in _possible_starts(wanted, places):
                end = start + len(wanted)
                if _same(forms[start:end], wanted):
                    owns = end < len(words) and words[end] in _POSSESSIVES
                    mentions.append(_Mention(start, end, owns, label))
                    longest[start:end] = [max(len(wanted), other) for other in longest[start:end]]
    whole = [each for each in mentions if max(longest[each.start : each.end]) == each.length]
    return min(whole, key=lambda each: (each.owns, each.start)).label if whole else None


@dataclass(frozen=True)
class _Mention:
    """A label's name in a text: words `start` up to, not including, `end`."""

    start: int
    end: int
    owns: bool
    label: Label

    @property
    def length(self) -> int:
        return self.end - self.start


def _possible_starts(wanted: Sequence[set[str]], places: Mapping[str, list[int]]) -> set[int]:
    """Where a name can begin, by its rarest word: a config may have thousands of labels."""
    candidates = [
        {place - offset for form in word_forms for place in places.get(form, ())}
        for offset, word_forms in enumerate(wanted)
    ]
    return {start for start in min(candidates, key=len, default=set()) if start >= 0}


def _names(label: Label) -> Iterator[str]:
    yield label.value
    if label.alias is not None:
        yield label.alias


def _words(text: str) -> list[str]:
    return _WORD.findall(text.casefold())


def _word_forms(text: str) -> list[set[str]]:
    return [_forms(word) for word in _words(text)]


def _same(words: Sequence[set[str]], wanted: Sequence[set[str]]) -> bool:
    """Whether these are the same words, singular and plural being one."""
    return len(words) == len(wanted) and not any(
        word.isdisjoint(other) for word, other in zip(words, wanted, strict=True)
    )


def _forms(word: str) -> set[str]:
    """The word and all it may be the plural of."""
    forms = {word, _SINGULARS.get(word, word)}
    if len(word) > 3 and word.endswith("s") and not word.endswith("ss"):
        forms.add(word[:-1])
        if word.endswith("ies"):
            forms.add(word[:-3] + "y")
        if word.endswith(("ses", "xes", "zes", "ches", "shes", "oes")):
            forms.add(word[:-2])
    return forms
