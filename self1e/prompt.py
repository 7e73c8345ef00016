"""Chat text of a prompt and its token ids (paper section 3.1; InternVL's ChatML template)."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from self1e.errors import PromptError
from self1e.losses import IGNORE_LABEL

IMAGE_PLACEHOLDER = "<image>"
IMAGE_START, IMAGE_TOKEN, IMAGE_END = "<img>", "<IMG_CONTEXT>", "</img>"
SEG_TOKEN, SEGT_TOKEN = "[SEG]", "[SEGT]"
TURN_START, TURN_END = "<|im_start|>", "<|im_end|>"

SYSTEM_MESSAGE = "You are an helpful assistant."
PHRASE_QUESTION = "What is {} in this image? Please output segmentation mask."
SENTENCE_QUESTION = "{} Please output segmentation mask."
ANSWER = "[SEG]."

TRAIN_PHRASE_QUESTIONS = (
    PHRASE_QUESTION,
    "Can you segment {} in this image?",
    "Please segment {} in this image.",
    "Where is {} in this image? Please respond with a segmentation mask.",
)
TRAIN_SENTENCE_QUESTIONS = (SENTENCE_QUESTION, "{} Please respond with a segmentation mask.")
TRAIN_ANSWERS = (
    "It is [SEG].",
    "Sure, [SEG].",
    "Sure, it is [SEG].",
    "Sure, the segmentation result is [SEG].",
    ANSWER,
)

_SENTENCE_WORDS = 5
_PUNCTUATION = ".,;:!? "
# Halves of UTF-16 pairs: JSON and file names can bring them, and no tokenizer takes them.
_HALF_CHARACTERS = re.compile("[\ud800-\udfff]")


def is_sentence(prompt: str) -> bool:
    """Whether a prompt is a full sentence ("Which object keeps food cold?") and not a phrase."""
    text = prompt.strip()
    return text.endswith("?") or (
        text.endswith((".", "!")) and len(text.split()) >= _SENTENCE_WORDS
    )


def question(prompt: str) -> str:
    """The user's turn for a prompt: phrases are lower-cased as in the published evaluation.

    Raises:
        PromptError: nothing but white space and punctuation.
    """
    text = " ".join(_HALF_CHARACTERS.sub(" ", prompt).split())
    if not text.strip(_PUNCTUATION):
        raise PromptError("The prompt is empty. Type what to segment, for example: the left dog")
    if is_sentence(text):
        return SENTENCE_QUESTION.format(text)
    return PHRASE_QUESTION.format(text.strip(_PUNCTUATION).lower())


def chat_text(user: str, answer: str = ANSWER) -> str:
    """The whole conversation, with `<image>` where the image tokens go."""
    return (
        f"{TURN_START}system\n{SYSTEM_MESSAGE}{TURN_END}\n"
        f"{TURN_START}user\n{IMAGE_PLACEHOLDER}\n {user}{TURN_END}\n"
        f"{TURN_START}assistant\n{answer}{TURN_END}\n"
    )


@dataclass(frozen=True)
class PromptBatch:
    """B prompts, padded on the right.

    Attributes:
        input_ids: int64 (B, L).
        attention_mask: int64 (B, L), 0 marks padding.
        labels: int64 (B, L), the answer's tokens, -100 elsewhere.
    """

    input_ids: Tensor
    attention_mask: Tensor
    labels: Tensor


class PromptEncoder:
    """Turns questions into token ids around an image's tokens.

    Args:
        tokenizer: holds `<img>`, `</img>`, `<IMG_CONTEXT>` and `[SEG]` as single tokens.
        tile_tokens: image tokens per tile.
        max_tokens: longest text, in tokens, image tokens not counted.

    Raises:
        ValueError: the tokenizer lacks one of these tokens.
    """

    def __init__(
        self, tokenizer: PreTrainedTokenizerBase, tile_tokens: int, max_tokens: int = 512
    ) -> None:
        self.tokenizer = tokenizer
        self.tile_tokens = tile_tokens
        self.max_tokens = max_tokens
        special = (IMAGE_START, IMAGE_TOKEN, IMAGE_END, SEG_TOKEN, TURN_START, TURN_END)
        ids = [self._ids(token) for token in special]
        missing = [token for token, found in zip(special, ids, strict=True) if len(found) != 1]
        if missing:
            raise ValueError(f"The tokenizer lacks the special tokens {', '.join(missing)}")
        self.image_token_id, self.seg_token_id = ids[1][0], ids[3][0]
        added = sorted(tokenizer.get_added_vocab(), key=len, reverse=True)
        self._added_tokens = re.compile("|".join(map(re.escape, added)), re.IGNORECASE)
        pad = tokenizer.pad_token_id
        self.pad_token_id = pad if pad is not None else ids[5][0]

    def encode(self, prompts: Sequence[str], tiles: int) -> PromptBatch:
        """Prompts about one image for inference: each ends at [SEG], as nothing sees what follows.

        Raises:
            PromptError: a prompt is empty or longer than `max_tokens`.
        """
        answer = ANSWER[: ANSWER.index(SEG_TOKEN) + len(SEG_TOKEN)]
        rows = []
        for prompt in prompts:
            before, after, _ = self._parts(self.user_turn(prompt), answer)
            end = len(after) - after[::-1].index(self.seg_token_id)
            rows.append((before, after[:end], end))
        return self._batch(rows, [tiles] * len(rows))

    def user_turn(self, prompt: str) -> str:
        """The user's turn for a prompt (`question`).

        A prompt is words only: what the tokenizer would read as one of its added tokens, such as
        [SEG] or the end of a turn, is left out.

        Raises:
            PromptError: the prompt is empty.
        """
        return question(self._added_tokens.sub(" ", prompt))

    def encode_answers(self, rows: Sequence[tuple[str, str, int]]) -> PromptBatch:
        """Training rows of user's turn, answer and number of tiles.

        The labels cover the answer and the mark that ends it.

        Raises:
            PromptError: a row is longer than `max_tokens`.
        """
        parts = [self._parts(user, answer) for user, answer, _ in rows]
        return self._batch(parts, [tiles for _, _, tiles in rows])

    def _parts(self, user: str, answer: str) -> tuple[list[int], list[int], int]:
        """Tokens before the image, those after it, and where in these the answer starts."""
        before, after = chat_text(user, answer).split(IMAGE_PLACEHOLDER, maxsplit=1)
        answer_text = answer + after.rpartition(answer)[2]
        lead = self._ids(IMAGE_END + after.removesuffix(answer_text))
        first, rest = self._ids(before + IMAGE_START), lead + self._ids(answer_text)
        length = len(first) + len(rest)
        if length > self.max_tokens:
            raise PromptError(
                f"The prompt has {length} tokens; at most {self.max_tokens} are read. Shorten it."
            )
        return first, rest, len(lead)

    def _batch(
        self, rows: Sequence[tuple[list[int], list[int], int]], tiles: Sequence[int]
    ) -> PromptBatch:
        images = [[self.image_token_id] * (count * self.tile_tokens) for count in tiles]
        sequences = [b + i + a for (b, a, _), i in zip(rows, images, strict=True)]
        length = max(len(ids) for ids in sequences)
        input_ids = torch.full((len(rows), length), self.pad_token_id)
        attention_mask = torch.zeros_like(input_ids)
        labels = torch.full_like(input_ids, IGNORE_LABEL)
        for row, ids in enumerate(sequences):
            input_ids[row, : len(ids)] = torch.tensor(ids)
            attention_mask[row, : len(ids)] = 1
            before, _, answer_start = rows[row]
            start = len(before) + len(images[row]) + answer_start
            labels[row, start : len(ids)] = input_ids[row, start : len(ids)]
        return PromptBatch(input_ids, attention_mask, labels)

    def _ids(self, text: str) -> list[int]:
        ids: list[int] = self.tokenizer.encode(text, add_special_tokens=False)
        return ids
