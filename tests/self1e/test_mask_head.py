import pytest
import torch
from torch import Tensor
from torch.nn import functional

from self1e.mask_head import MaskHead, RefillFeatures, depth_to_space, upsample

WIDTH = 8


@pytest.fixture
def head() -> MaskHead:
    torch.manual_seed(0)
    return MaskHead(WIDTH)


def naive_logits(
    head: MaskHead, compressed: Tensor, replicated: Tensor, tokens: Tensor, query: Tensor
) -> tuple[Tensor, Tensor]:
    """The formulas of one image and one query at full size: nothing is folded."""
    refined = depth_to_space(head.llm_mlp(tokens))
    residual = refined - depth_to_space(head.vit_mlp(compressed))
    refilled = head.fuse(depth_to_space(head.vit_mlp(replicated)) + upsample(residual))
    spread = head.llm_mlp(query)
    seg = head.fuse(torch.stack([spread[WIDTH * i : WIDTH * (i + 1)] for i in range(4)]).mean(0))
    return (refilled @ seg)[0] / WIDTH**0.5, (refined @ seg)[0] / WIDTH**0.5


def test_depth_to_space_puts_blocks_into_cells() -> None:
    features = torch.arange(2 * 3 * 4.0).reshape(1, 2, 3, 4)
    spread = depth_to_space(features)[0, ..., 0]
    assert spread.tolist() == [
        [0, 1, 4, 5, 8, 9],
        [2, 3, 6, 7, 10, 11],
        [12, 13, 16, 17, 20, 21],
        [14, 15, 18, 19, 22, 23],
    ]


def test_upsample_is_bilinear_without_aligned_corners() -> None:
    row = upsample(torch.tensor([0.0, 4.0]).reshape(1, 1, 2, 1))[0, 0, :, 0]
    assert row.tolist() == [0, 1, 3, 4]


def test_folded_logits_equal_the_formulas(head: MaskHead) -> None:
    compressed, tokens = torch.randn(2, 2, 3, WIDTH), torch.randn(2, 2, 3, WIDTH)
    replicated, queries = torch.randn(2, 4, 6, WIDTH), torch.randn(2, 3, WIDTH)
    logits = head(head.image_features(compressed, replicated), tokens, queries)
    assert logits.final.shape == (2, 3, 8, 12)
    assert logits.low.shape == (2, 3, 4, 6)
    for image in range(2):
        for number in range(3):
            final, low = naive_logits(
                head,
                compressed[image : image + 1],
                replicated[image : image + 1],
                tokens[image : image + 1],
                queries[image, number],
            )
            torch.testing.assert_close(logits.final[image, number], final)
            torch.testing.assert_close(logits.low[image, number], low)


def test_one_image_serves_many_prompts(head: MaskHead) -> None:
    shared = head.image_features(torch.randn(1, 2, 2, WIDTH), torch.randn(1, 4, 4, WIDTH))
    tokens, queries = torch.randn(3, 2, 2, WIDTH), torch.randn(3, 1, WIDTH)
    together = head(shared, tokens, queries).final
    repeated = shared.select(torch.zeros(3, dtype=torch.long))
    torch.testing.assert_close(together, head(repeated, tokens, queries).final)


def test_gradients_reach_every_weight(head: MaskHead) -> None:
    features = head.image_features(torch.randn(1, 2, 2, WIDTH), torch.randn(1, 4, 4, WIDTH))
    head(features, torch.randn(1, 2, 2, WIDTH), torch.randn(1, 1, WIDTH)).final.sum().backward()
    for name, weight in head.named_parameters():
        assert weight.grad is not None, name
        assert functional.l1_loss(weight.grad, torch.zeros_like(weight)) > 0, name


def test_selection_keeps_order_and_repeats() -> None:
    features = RefillFeatures(torch.arange(3.0), torch.arange(3.0) + 10)
    chosen = features.select(torch.tensor([2, 0, 0]))
    assert chosen.compressed.tolist() == [2, 0, 0]
    assert chosen.replicated.tolist() == [12, 10, 10]
