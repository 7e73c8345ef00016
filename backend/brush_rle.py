"""Label Studio's brush RLE: thi.ng rle-pack of a mask's flattened RGBA buffer.

A stream is bits, most significant first: a header (32 bits: number of words; 5 bits: word size
minus one; four times 4 bits: run sizes minus one), then blocks. A block is 1 bit (run or
literals), 2 bits (which run size), that many bits (number of words minus one), then one word for
a run or all the words for literals. Label Studio's editor and SDK use 8-bit words and run sizes
3, 4, 8 and 16, the only ones written and read here.

Format: https://github.com/thi-ng/umbrella/tree/develop/packages/rle-pack
"""

from collections.abc import Sequence
from contextlib import suppress

import numpy as np
from numpy.typing import NDArray

_CHANNELS = 4  # a word is one channel of one pixel; the last one is alpha
_RUN_SIZES = np.array([3, 4, 8, 16], dtype=np.int64)
_LONGEST_RUN = 1 << 16  # words
_LONG_RUN_BITS = 3 + 16 + 8
_PARAMETERS = 0b00111_0010_0011_0111_1111  # word size and run sizes, each minus one
_PARAMETER_BITS = 21
_HEADER_BITS = 32 + _PARAMETER_BITS
# Both bound the working memory: a noisy mask has a block every few pixels.
_ENCODED_RUNS_PER_CHUNK = 1 << 18
_DECODED_BYTES_PER_CHUNK = 1 << 18
_PADDING = 8  # zero bytes after a stream to decode, so that 64 bits can be read at its last bit


class BrushRleError(ValueError):
    """The RLE is malformed, or is not of an image of the given size."""


def encode_mask(mask: NDArray[np.bool_]) -> list[int]:
    """Encodes a mask into the very bytes that label_studio_sdk's `mask2rle` gives for 0/255.

    Args:
        mask: bool (H, W), in the frame and size of the upright image.

    Returns:
        The RLE's bytes, 0..255.

    Raises:
        ValueError: The mask is not bool, not 2-D, is empty, or has 2^30 pixels or more.
    """
    words = mask.size * _CHANNELS
    if mask.dtype != np.bool_ or mask.ndim != 2 or not 0 < words < 1 << 32:
        raise ValueError(
            f"{mask.dtype} of shape {mask.shape} has no brush RLE: pass bool (H, W), not empty"
        )
    pixels = mask.ravel()
    starts = np.concatenate(([0], np.flatnonzero(pixels[1:] != pixels[:-1]) + 1))
    lengths = np.diff(starts, append=pixels.size) * _CHANNELS

    stream = bytearray(words.to_bytes(4, "big"))
    tail, tail_bits = _PARAMETERS << (32 - _PARAMETER_BITS), _PARAMETER_BITS
    for first in range(0, starts.size, _ENCODED_RUNS_PER_CHUNK):
        chunk = slice(first, first + _ENCODED_RUNS_PER_CHUNK)
        codes, sizes = _run_blocks(lengths[chunk], pixels[starts[chunk]])
        ends = np.cumsum(sizes) + tail_bits
        begins = ends - sizes
        packed = np.zeros(ends[-1] // 32 + 2, dtype=np.uint32)
        packed[0] = tail
        # A block is at most 27 bits, so it lies in at most two 32-bit words. Blocks do not share
        # bits: adding is the same as or-ing, and numpy's `add.at` is the faster of the two.
        aligned = codes << (64 - sizes - begins % 32).astype(np.uint64)
        np.add.at(packed, begins // 32, (aligned >> np.uint64(32)).astype(np.uint32))
        np.add.at(packed, begins // 32 + 1, aligned.astype(np.uint32))
        full = int(ends[-1]) // 32
        stream += packed[:full].astype(">u4").tobytes()
        tail, tail_bits = int(packed[full]), int(ends[-1]) % 32
    # Like the SDK, fill up the last byte, or add an empty one if it is full.
    stream += tail.to_bytes(4, "big")[: tail_bits // 8 + 1]
    return list(stream)


def _run_blocks(
    lengths: NDArray[np.int64], values: NDArray[np.bool_]
) -> tuple[NDArray[np.uint64], NDArray[np.int64]]:
    """Makes the run blocks of consecutive runs.

    Args:
        lengths: int64 (runs,), in words.
        values: bool (runs,).

    Returns:
        The blocks' bits as uint64 (blocks,) and their number of bits as int64 (blocks,); runs
        of more than 2^16 words have several blocks.
    """
    which = np.searchsorted([8, 16, 256], lengths)
    pieces = (lengths + _LONGEST_RUN - 1) // _LONGEST_RUN
    last = np.cumsum(pieces) - 1
    words = np.full(last[-1] + 1, _LONGEST_RUN)
    words[last] = lengths - (pieces - 1) * _LONGEST_RUN
    which = np.repeat(which, pieces)
    run_bits = _RUN_SIZES[which]
    value_bytes = np.repeat(values, pieces) * 255
    codes = ((((4 | which) << run_bits) | (words - 1)) << 8) | value_bytes
    return codes.astype(np.uint64), run_bits + 11


def decode_mask(rle: Sequence[int], height: int, width: int) -> NDArray[np.bool_]:
    """Decodes a brush region, painted by hand (with anti-aliased strokes) or encoded.

    Args:
        rle: The RLE's bytes, 0..255.
        height: The image's height in pixels (the region's `original_height`).
        width: The image's width in pixels (the region's `original_width`).

    Returns:
        bool (H, W): where alpha is over 127.

    Raises:
        BrushRleError: The RLE is malformed, or its length is not `height * width * 4`.
    """
    stream = _checked_stream(rle, height, width)
    pixels = np.zeros(height * width, dtype=np.bool_)
    block_bits = _block_bits_table()
    position, word = _HEADER_BITS, 0
    while word < pixels.size * _CHANNELS:
        positions, position = _block_positions(stream, position, block_bits)
        word = _fill(pixels, word, stream, positions)
    return pixels.reshape(height, width)


def _checked_stream(rle: Sequence[int], height: int, width: int) -> bytes:
    """The RLE's bytes and the padding, once its header and size are known to fit the image."""
    try:
        stream = bytes(iter(rle))  # iter: bytes(10**12) would be a terabyte of zeros
    except (TypeError, ValueError) as error:
        raise BrushRleError(f"a brush RLE is a list of integers 0..255: {error}") from error
    if len(stream) * 8 < _HEADER_BITS:
        raise BrushRleError(f"the brush RLE has {len(stream)} bytes, not even a header")
    words = int.from_bytes(stream[:4], "big")
    if height < 1 or width < 1 or words != height * width * _CHANNELS:
        raise BrushRleError(
            f"the brush RLE holds {words} words but an image of height {height} and width {width} "
            f"has {height * width * _CHANNELS}: it was made for an image of another size"
        )
    if int.from_bytes(stream[4:7], "big") >> (24 - _PARAMETER_BITS) != _PARAMETERS:
        raise BrushRleError("the brush RLE is not of 8-bit words and run sizes 3, 4, 8 and 16")
    # Before anything is allocated: a short stream must not claim an image it cannot fill.
    if len(stream) * 8 < _HEADER_BITS + words // _LONGEST_RUN * _LONG_RUN_BITS:
        raise BrushRleError(f"the brush RLE is cut short: {len(stream)} bytes for {words} words")
    return stream + bytes(_PADDING)


def _block_bits_table() -> NDArray[np.uint8]:
    """How many bits a block has that starts in a given byte, by the bits from there on.

    Returns:
        uint8 (2^14, 8): indexed by the byte and the six bits after it, then by the bit of the
        byte at which the block starts. 0 for literals whose count has 8 or 16 bits.
    """
    heads = np.arange(1 << 7)  # run flag, run size, and a count of up to 4 bits
    which = heads >> 4 & 3
    literals = np.where(which == 0, heads >> 1 & 7, heads & 15) + 1
    block_bits = 3 + _RUN_SIZES[which] + 8 * np.where(heads >> 6, 1, literals)
    block_bits[(heads >> 6 == 0) & (which > 1)] = 0
    windows = np.arange(1 << 14)[:, np.newaxis]
    table: NDArray[np.uint8] = block_bits.astype(np.uint8)[windows >> (7 - np.arange(8)) & 127]
    return table


def _block_positions(
    stream: bytes, position: int, block_bits_table: NDArray[np.uint8]
) -> tuple[NDArray[np.int64], int]:
    """Finds where the blocks of the next chunk start: the one step that is sequential.

    Only a look-up and an addition are left to do per block: numpy tells, for every bit of the
    chunk, how long a block would be that started there.

    Args:
        stream: The padded RLE.
        position: Bit at which the first block starts.
        block_bits_table: See `_block_bits_table`.

    Returns:
        Bit positions, int64 (blocks,), and the bit after the last block. They may go on after
        the last true block, into the bits that fill up the last byte.

    Raises:
        BrushRleError: The stream has no more blocks.
    """
    first = position // 8
    size = min(len(stream) - _PADDING - first, _DECODED_BYTES_PER_CHUNK)
    if size < 1:
        raise BrushRleError(f"the brush RLE is cut short after {len(stream) - _PADDING} bytes")
    chunk = np.frombuffer(stream, np.uint8, count=size + 1, offset=first).astype(np.uint16)
    block_bits = block_bits_table[chunk[:-1] << 6 | chunk[1:] >> 2].tobytes()
    at = position % 8
    positions = [at]
    append = positions.append
    with suppress(IndexError):  # the end of the chunk; cheaper than a comparison per block
        while True:
            at += block_bits[at] or _long_literals_bits(stream, first * 8 + at)
            append(at)
    return np.array(positions[:-1], dtype=np.int64) + first * 8, first * 8 + at


def _long_literals_bits(stream: bytes, position: int) -> int:
    """The bits of the block at bit `position`, of literals whose count has 8 or 16 bits."""
    byte = position // 8
    head = int.from_bytes(stream[byte : byte + 4], "big") << position % 8 & 0xFFFFFFFF
    count_bits = 16 if head & 1 << 29 else 8
    count = (head >> (29 - count_bits) & ((1 << count_bits) - 1)) + 1
    return 3 + count_bits + 8 * count


def _fill(pixels: NDArray[np.bool_], word: int, stream: bytes, positions: NDArray[np.int64]) -> int:
    """Writes the alpha of consecutive blocks into the pixels.

    Args:
        pixels: bool (H * W,), changed in place.
        word: The first block's first word.
        stream: The padded RLE.
        positions: The blocks' bit positions, int64 (blocks,).

    Returns:
        The word after the last block.

    Raises:
        BrushRleError: A block goes on after the last pixel or after the end of the stream.
    """
    # Overlapping big-endian 64-bit windows, one per byte of the stream.
    windows: NDArray[np.uint64] = np.ndarray(
        (len(stream) - 7,), dtype=">u8", buffer=stream, strides=(1,)
    )
    heads = windows[positions >> 3].astype(np.uint64) << (positions & 7).astype(np.uint64)
    is_run = heads >> np.uint64(63) == 1
    count_bits = _RUN_SIZES[(heads >> np.uint64(61) & np.uint64(3)).astype(np.intp)]
    counts = (heads << np.uint64(3) >> (64 - count_bits).astype(np.uint64)).astype(np.int64) + 1
    payloads = positions + 3 + count_bits
    ends = word + np.cumsum(counts)
    begins = ends - counts

    blocks = int(np.searchsorted(begins, pixels.size * _CHANNELS))  # what follows is filling
    last = blocks - 1
    last_bit = payloads[last] + 8 * (1 if is_run[last] else counts[last])
    if ends[last] > pixels.size * _CHANNELS or last_bit > (len(stream) - _PADDING) * 8:
        raise BrushRleError("the last block of the brush RLE goes on after its end")

    # Pixel p's alpha is word 4p + 3: the words [b, e) hold that of the pixels [b // 4, e // 4).
    # A word is over 127 if its first bit is set.
    first, after = begins[:blocks] // _CHANNELS, ends[:blocks] // _CHANNELS
    sizes = after - first
    pixels[first[0] : after[-1]] = np.repeat(_bits(stream, payloads[:blocks]), sizes)

    # Every pixel in literals has a word of its own.
    literals = np.flatnonzero(~is_run[:blocks] & (sizes > 0))
    sizes = sizes[literals]
    in_block = np.arange(sizes.sum()) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    pixel = np.repeat(first[literals], sizes) + in_block
    offsets = pixel * _CHANNELS + 3 - np.repeat(begins[literals], sizes)  # words
    pixels[pixel] = _bits(stream, np.repeat(payloads[literals], sizes) + 8 * offsets)
    return int(ends[last])


def _bits(stream: bytes, positions: NDArray[np.int64]) -> NDArray[np.bool_]:
    """The bits at `positions`."""
    octets = np.frombuffer(stream, np.uint8)[positions >> 3]
    bits: NDArray[np.bool_] = (octets & (128 >> (positions & 7))).astype(np.bool_)
    return bits
