"""What the model is asked for a task, and which label the answer carries."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from backend.context import context_values
from backend.errors import BadRequestError
from backend.label_config import LabelConfig, task_value
from backend.label_matching import label_called, label_named_in

MAX_PROMPT_CHARACTERS = 1000
MAX_PROMPTS = 20

_SEPARATORS = re.compile("[;；\r\n]")
_COLON = re.compile("[:：]")
_POINTS_BACK = re.compile(r"\b(one|ones|it|them)\b", re.IGNORECASE)


@dataclass(frozen=True)
class LabelledPrompt:
    """`text` is what the model is asked; `label` what the region carries, empty for none."""

    text: str
    label: str

    @property
    def identity(self) -> tuple[str, str]:
        """What tells one prompt from another: the label, and the text without case."""
        return self.text.casefold(), self.label


def newest_prompt(context: Mapping[str, Any] | None, config: LabelConfig) -> str | None:
    """What the annotator entered last in the prompt's TextArea, or None.

    The context holds the results of every control on the image, and `text` grows by one entry with
    each prompt. An entry may hold several prompts: see `split_prompts`.

    Raises:
        BadRequestError: the context is not what Label Studio sends.
    """
    if context is None or config.prompt_name is None:
        return None
    for value in context_values(context, config.prompt_name):
        if entries := typed_texts(value.get("text")):
            return entries[-1]
    return None


def split_prompts(entry: str) -> list[str]:
    """The prompts of one entry: "the dog; the red cup", or one per line.

    Raises:
        BadRequestError: a prompt is too long.
    """
    parts = (" ".join(part.split()) for part in _SEPARATORS.split(entry))
    return [_checked(part) for part in parts if part]


def label_prompt(text: str, config: LabelConfig) -> LabelledPrompt:
    """Chooses the label of a prompt.

    In this order: a label in front of a colon ("car: the red one"), the only label there is, the
    label the prompt names. A prompt that names no label gets none: the annotator sees a mask
    without a label, where a guess could be saved as truth.

    With a label in front of a colon the model is asked what follows the colon, since a label may be
    a code; a text that points back at the label is asked together with it: "car, the red one".

    Args:
        text: what the annotator entered.
        config: the labeling config, with the labels of the task.
    """
    labels = config.control.labels
    hint, *rest = (part.strip() for part in _COLON.split(text, maxsplit=1))
    if any(rest) and (label := label_called(hint, labels)) is not None:
        points_back = _POINTS_BACK.search(rest[0]) is not None
        return LabelledPrompt(f"{hint}, {rest[0]}" if points_back else rest[0], label.name)
    if len(labels) == 1:
        return LabelledPrompt(text, labels[0].name)
    named = label_named_in(text, labels)
    return LabelledPrompt(text, "" if named is None else named.name)


def prompts_for_task(
    task: Mapping[str, Any],
    context: Mapping[str, Any] | None,
    config: LabelConfig,
    *,
    last_prompts: str = "",
) -> list[LabelledPrompt]:
    """What to ask for this task, each prompt and label once.

    With a context it is what the annotator entered last, or nothing if there is none. Without
    (batch) it is the first of these that there is:

    1. what the task's data puts in the prompt's TextArea (`value="$key"`);
    2. every label, if one has a `prompt` attribute: that, or the label's value;
    3. the last prompts of the project's annotators;
    4. every label: its value, "traffic_light" read as "traffic light".

    Args:
        task: the task as Label Studio sends it.
        context: the annotator's results on this image (interactive), or None (batch).
        config: the project's labeling config.
        last_prompts: one entry of the prompt's TextArea, empty for none.

    Raises:
        BadRequestError: the context is not what Label Studio sends, a prompt is too long, or the
            annotator or the task asks for more than MAX_PROMPTS at once.
    """
    config = config.for_task(task)
    if context is not None:
        newest = newest_prompt(context, config)
        return [] if newest is None else _asked([newest], config)
    if asked := _asked(typed_texts(task_value(task, config.prompt_key)), config):
        return asked
    labels = config.control.labels
    if not any(label.prompt for label in labels) and (asked := _asked([last_prompts], config)):
        return asked
    return _without_repeats(
        LabelledPrompt(_checked(label.prompt or spoken_label(label.value)), label.name)
        for label in labels
    )


def _asked(entries: Iterable[str], config: LabelConfig) -> list[LabelledPrompt]:
    """The prompts that somebody wrote, labelled."""
    prompts = _without_repeats(
        label_prompt(text, config) for entry in entries for text in split_prompts(entry)
    )
    if len(prompts) > MAX_PROMPTS:
        raise BadRequestError(
            f"{len(prompts)} prompts at once; the most is {MAX_PROMPTS}. Ask for the rest later."
        )
    return prompts


def _without_repeats(prompts: Iterable[LabelledPrompt]) -> list[LabelledPrompt]:
    """The first prompt of each identity, in their order."""
    first: dict[tuple[str, str], LabelledPrompt] = {}
    for prompt in prompts:
        first.setdefault(prompt.identity, prompt)
    return list(first.values())


def typed_texts(text: object) -> list[str]:
    """The texts of a TextArea's value that are not blank, oldest first."""
    texts = text if isinstance(text, list) else [text]
    return [each.strip() for each in texts if isinstance(each, str) and each.strip()]


def _checked(text: str) -> str:
    if len(text) > MAX_PROMPT_CHARACTERS:
        raise BadRequestError(
            f"The prompt has {len(text)} characters; the most is {MAX_PROMPT_CHARACTERS}."
        )
    return text


def spoken_label(value: str) -> str:
    """What the model is asked for a label that says nothing itself: "traffic_light" in words."""
    return " ".join(value.replace("_", " ").split()) or value
