import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional

from self1e.attention import additive_mask, blocked_attention

WORD, IMAGE, SEG = 1, 2, 3


@st.composite
def batches(draw: st.DrawFn) -> tuple[Tensor, Tensor]:
    """Token ids and attention mask: words, image and [SEG] tokens, padding on either side."""
    rows, length = draw(st.integers(1, 3)), draw(st.integers(1, 9))
    ids = draw(
        st.lists(
            st.lists(st.sampled_from([WORD, IMAGE, SEG]), min_size=length, max_size=length),
            min_size=rows,
            max_size=rows,
        )
    )
    mask = torch.ones(rows, length, dtype=torch.long)
    for row in range(rows):
        padding = draw(st.integers(0, length - 1))
        if draw(st.booleans()):
            mask[row, :padding] = 0
        else:
            mask[row, length - padding :] = 0
    return torch.tensor(ids), mask


def naive(ids: list[int], valid: list[int], query: int, key: int) -> bool:
    """Whether a query of one sequence sees a key."""
    if query == key:
        return True
    if not valid[key]:
        return False
    segments = any(token == SEG and v for token, v in zip(ids, valid, strict=True))
    two_way = segments and valid[query] and ids[query] == IMAGE and ids[key] in (IMAGE, SEG)
    return key <= query or bool(two_way)


@settings(deadline=None)
@given(batches())
def test_equals_the_rules_pair_by_pair(batch: tuple[Tensor, Tensor]) -> None:
    ids, mask = batch
    blocked = blocked_attention(ids, mask, IMAGE, SEG)
    assert blocked.shape == (len(ids), 1, ids.shape[1], ids.shape[1])
    for row, (tokens, valid) in enumerate(zip(ids.tolist(), mask.tolist(), strict=True)):
        for query in range(len(tokens)):
            for key in range(len(tokens)):
                assert bool(blocked[row, 0, query, key]) != naive(tokens, valid, query, key)


@settings(deadline=None)
@given(batches())
def test_padding_is_seen_by_nobody_else_and_no_row_is_empty(batch: tuple[Tensor, Tensor]) -> None:
    ids, mask = batch
    seen = ~blocked_attention(ids, mask, IMAGE, SEG)[:, 0]
    assert seen.diagonal(dim1=1, dim2=2).all()
    others = seen & ~torch.eye(ids.shape[1], dtype=torch.bool)
    assert not (others & ~mask.bool()[:, None, :]).any()


@settings(deadline=None)
@given(batches())
def test_without_seg_it_is_causal(batch: tuple[Tensor, Tensor]) -> None:
    ids, _ = batch
    ids = ids.masked_fill(ids == SEG, WORD)
    blocked = blocked_attention(ids, torch.ones_like(ids), IMAGE, SEG)
    future = torch.ones(ids.shape[1], ids.shape[1], dtype=torch.bool).triu(diagonal=1)
    assert torch.equal(blocked[:, 0], future.expand(len(ids), -1, -1))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_additive_mask_leaves_nothing_of_what_is_blocked(dtype: torch.dtype) -> None:
    blocked = torch.tensor([[False, True], [False, False]])
    mask = additive_mask(blocked, dtype)
    assert mask.dtype == dtype
    weights = functional.softmax(torch.zeros(2, 2, dtype=dtype) + mask, dim=-1)
    assert weights.tolist() == [[1.0, 0.0], [0.5, 0.5]]
