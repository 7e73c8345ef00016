"""Our brush RLE against the Label Studio SDK's, and against the editor's encoder."""

import tracemalloc
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from label_studio_sdk.converter import brush
from numpy.typing import NDArray

from backend.brush_rle import BrushRleError, decode_mask, encode_mask

# The SDK's functions are untyped.
encode_rle: Callable[[NDArray[np.uint8]], list[int]] = brush.encode_rle
decode_rle: Callable[[list[int]], NDArray[np.uint8]] = brush.decode_rle
mask2rle: Callable[[NDArray[np.uint8]], list[int]] = brush.mask2rle

SHAPES = st.tuples(st.integers(1, 24), st.integers(1, 24))

# What @thi.ng/rle-pack 3.2.12, the editor's encoder, gives for an orange disc of 5 x 6 pixels
# with a soft border: literals of every channel, and the alpha that went in.
EDITOR_RLE = [
    *(0, 0, 0, 120, 57, 27, 252, 96, 7, 255, 214, 130, 132, 63, 214, 130, 149, 191, 214, 130, 149),
    *(191, 214, 130, 132, 39, 0, 63, 254, 180, 21, 1, 254, 180, 21, 219, 254, 180, 21, 219, 254),
    *(180, 21, 1, 24, 1, 175, 245, 160, 161, 15, 245, 160, 171, 15, 245, 160, 168, 127, 193, 90),
    *(10, 135, 252, 101, 160, 171, 15, 245, 160, 161, 8, 192, 15, 255, 173, 5, 64, 127, 173, 5),
    *(118, 255, 173, 5, 118, 255, 173, 5, 64, 78, 0, 127, 253, 104, 40, 67, 253, 104, 41, 91, 253),
    *(104, 41, 91, 253, 104, 40, 66, 48, 0),
]
EDITOR_ALPHA = np.array(
    [
        [0, 16, 86, 86, 16, 0],
        [0, 128, 237, 237, 128, 0],
        [16, 176, 255, 255, 176, 16],
        [0, 128, 237, 237, 128, 0],
        [0, 16, 86, 86, 16, 0],
    ]
)


def sdk_rle(mask: NDArray[np.bool_]) -> list[int]:
    return mask2rle(mask.astype(np.uint8) * 255)


def pack(words: Sequence[int], blocks: Sequence[tuple[bool, int, int]]) -> list[int]:
    """Writes words as the given blocks: (run?, index of the run size, number of words)."""
    bits = f"{len(words):032b}" + "00111" + "0010001101111111"
    first = 0
    for run, which, count in blocks:
        count_bits = (3, 4, 8, 16)[which]
        values = words[first : first + 1] if run else words[first : first + count]
        bits += f"{int(run)}{which:02b}{count - 1:0{count_bits}b}"
        bits += "".join(f"{value:08b}" for value in values)
        first += count
    bits += "0" * (-len(bits) % 8)
    return [int(bits[i : i + 8], 2) for i in range(0, len(bits), 8)]


@st.composite
def packed_images(draw: st.DrawFn) -> tuple[list[int], NDArray[np.uint8]]:
    """A random RGBA image in random blocks: not only those that one encoder would choose."""
    height, width = draw(SHAPES)
    total = height * width * 4
    words: list[int] = []
    blocks = []
    while len(words) < total:
        which = draw(st.integers(0, 3))
        most = min(total - len(words), (8, 16, 256, 1 << 16)[which])
        count = draw(st.integers(1, most))
        run = draw(st.booleans())
        values = draw(st.binary(min_size=1, max_size=1) if run else st.binary(min_size=1))
        blocks.append((run, which, count))
        words += (values * count)[:count]
    return pack(words, blocks), np.array(words, np.uint8).reshape(height, width, 4)


@given(hnp.arrays(np.bool_, SHAPES))
def test_any_mask_is_encoded_as_by_the_sdk_and_comes_back(mask: NDArray[np.bool_]) -> None:
    rle = encode_mask(mask)
    assert rle == sdk_rle(mask)
    np.testing.assert_array_equal(decode_mask(rle, *mask.shape), mask)


@given(st.lists(st.integers(1, 40_000), min_size=1, max_size=12), st.booleans())
def test_long_runs_are_encoded_as_by_the_sdk(pixels: list[int], first: bool) -> None:
    mask = np.repeat((np.arange(len(pixels)) % 2 == 1) ^ first, pixels)[np.newaxis]
    rle = encode_mask(mask)
    assert rle == sdk_rle(mask)
    np.testing.assert_array_equal(decode_mask(rle, *mask.shape), mask)


@pytest.mark.parametrize("words", [8, 12, 16, 20, 256, 260, 65536, 65540, 131072, 131076])
@pytest.mark.parametrize("value", [False, True])
def test_runs_at_the_limits_of_the_run_sizes(words: int, value: bool) -> None:
    for mask in (np.full((1, words // 4), value), np.full((words // 4, 1), value)):
        rle = encode_mask(mask)
        assert rle == sdk_rle(mask)
        np.testing.assert_array_equal(decode_mask(rle, *mask.shape), mask)


@pytest.mark.parametrize("seed", [0, 1])
def test_a_mask_of_many_chunks(seed: int) -> None:
    """Noise of 0.9 megapixels has more runs, and more bytes, than one chunk holds."""
    mask = np.random.default_rng(seed).random((900, 1001)) < 0.5
    rle = encode_mask(mask)
    assert len(rle) > 3 << 18
    assert rle == sdk_rle(mask)
    np.testing.assert_array_equal(decode_mask(rle, *mask.shape), mask)


def test_a_transposed_mask_is_encoded_by_its_pixels_not_its_memory() -> None:
    mask = np.random.default_rng(0).random((7, 13)) < 0.5
    assert encode_mask(mask.T) == encode_mask(np.ascontiguousarray(mask.T))


@pytest.mark.parametrize("shape", [(0, 5), (5, 0), (5,), (2, 2, 2)])
def test_what_is_not_a_mask_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="has no brush RLE"):
        encode_mask(np.zeros(shape, dtype=np.bool_))


def test_a_mask_that_is_not_bool_is_refused() -> None:
    numbers: NDArray[Any] = np.full((2, 2), 255, dtype=np.uint8)
    with pytest.raises(ValueError, match=r"uint8 .* has no brush RLE"):
        encode_mask(numbers)


@given(hnp.arrays(np.uint8, st.tuples(st.integers(1, 16), st.integers(1, 16), st.just(4))))
def test_any_rgba_image_encoded_by_the_sdk_gives_its_alpha(rgba: NDArray[np.uint8]) -> None:
    decoded = decode_mask(encode_rle(rgba.ravel()), *rgba.shape[:2])
    np.testing.assert_array_equal(decoded, rgba[..., 3] > 127)


@given(packed_images())
def test_any_sequence_of_blocks_gives_the_alpha(
    packed: tuple[list[int], NDArray[np.uint8]],
) -> None:
    rle, rgba = packed
    np.testing.assert_array_equal(decode_rle(rle), rgba.ravel())
    np.testing.assert_array_equal(decode_mask(rle, *rgba.shape[:2]), rgba[..., 3] > 127)


def test_long_literals_over_many_chunks() -> None:
    """The editor writes a painted area, whose channels differ, as literals of up to 2^16 words."""
    rgba = np.random.default_rng(0).integers(0, 256, (300, 1000, 4), dtype=np.uint8)
    limits = np.cumsum([65536, 3, 200, 65535, 17] * 9)
    edges = [0, *limits[limits < rgba.size].tolist(), rgba.size]
    blocks = [(False, 3, end - begin) for begin, end in pairwise(edges)]
    rle = pack(rgba.ravel().tolist(), blocks)
    assert len(rle) > 4 << 18
    np.testing.assert_array_equal(decode_mask(rle, 300, 1000), rgba[..., 3] > 127)


def test_a_stroke_of_the_editor() -> None:
    np.testing.assert_array_equal(decode_mask(EDITOR_RLE, 5, 6), EDITOR_ALPHA > 127)


@pytest.mark.parametrize(
    ("height", "width"), [(6, 6), (5, 7), (4, 6), (0, 0), (-5, -6), (10**9, 6)]
)
def test_an_rle_of_another_size_is_refused(height: int, width: int) -> None:
    rle = encode_mask(np.ones((3, 10), dtype=np.bool_))
    with pytest.raises(BrushRleError, match=f"holds 120 words but .* {height} and width {width} "):
        decode_mask(rle, height, width)


@pytest.mark.parametrize("bad", [[256], [-1], ["1"], [1.5], [None], "text", 10**12, None, [[1]]])
def test_what_is_not_bytes_is_refused(bad: Sequence[int]) -> None:
    with pytest.raises(BrushRleError, match=r"is a list of integers 0\.\.255"):
        decode_mask(bad, 5, 6)


@given(packed_images(), st.integers(1, 1 << 12))
def test_a_cut_rle_is_refused(packed: tuple[list[int], NDArray[np.uint8]], cut: int) -> None:
    rle, rgba = packed
    with pytest.raises(BrushRleError, match=r"cut short|goes on after its end|not even a header"):
        decode_mask(rle[: -min(cut, len(rle))], *rgba.shape[:2])


def test_a_block_past_the_last_pixel_is_refused() -> None:
    one_too_many = pack([255] * 5, [(True, 0, 5)])
    one_too_many[3] = 4
    with pytest.raises(BrushRleError, match="goes on after its end"):
        decode_mask(one_too_many, 1, 1)


@pytest.mark.parametrize("byte", [4, 5, 6])
def test_other_word_or_run_sizes_are_refused(byte: int) -> None:
    rle = list(EDITOR_RLE)
    rle[byte] ^= 0x40
    with pytest.raises(BrushRleError, match="8-bit words"):
        decode_mask(rle, 5, 6)


@given(st.binary(max_size=200))
def test_random_bytes_are_a_mask_or_refused(content: bytes) -> None:
    rle = [*EDITOR_RLE[:7], *content]
    try:
        mask = decode_mask(rle, 5, 6)
    except BrushRleError:
        return
    assert mask.shape == (5, 6)
    np.testing.assert_array_equal(mask, decode_rle(rle).reshape(5, 6, 4)[..., 3] > 127)


def test_a_short_rle_of_a_giant_image_allocates_nothing() -> None:
    rle = [*(0xFFFF0000).to_bytes(4, "big"), *EDITOR_RLE[4:]]
    height, width = 0xFFFF, 0x10000 // 4
    tracemalloc.start()
    try:
        with pytest.raises(BrushRleError, match="cut short"):
            decode_mask(rle, height, width)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 1 << 20


def test_the_working_memory_of_noise_is_bounded() -> None:
    """Noise, a block every other pixel, is the worst case; of four times as much, little more."""
    encoding, decoding = [], []
    for side in (700, 1400):
        mask = np.random.default_rng(0).random((side, side)) < 0.5
        tracemalloc.start()
        rle = encode_mask(mask)
        encoding.append(tracemalloc.get_traced_memory()[1])  # positions and result grow with it
        tracemalloc.stop()
        tracemalloc.start()
        decode_mask(rle, *mask.shape)
        decoding.append(tracemalloc.get_traced_memory()[1] - mask.size - len(rle))
        tracemalloc.stop()
    assert encoding[1] < 3 * encoding[0]
    assert decoding[1] < 1.5 * decoding[0]
