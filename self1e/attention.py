"""The language model's dual-pathway attention (paper section 3.4).

Causal, plus, in a sequence that holds a [SEG] token: image tokens see each other in both
directions (image-to-image) and see the [SEG] tokens (image-to-segmentation).
"""

import torch
from torch import Tensor


def blocked_attention(
    input_ids: Tensor, attention_mask: Tensor, image_token_id: int, seg_token_id: int
) -> Tensor:
    """Which keys a query may not see.

    Args:
        input_ids: int64 (B, L).
        attention_mask: (B, L), 0 marks padding.
        image_token_id: id of the image tokens.
        seg_token_id: id of [SEG].

    Returns:
        bool (B, 1, L, L) as (query, key), True where blocked. Padding is never seen, but every
        query sees itself so that no softmax row is empty.
    """
    length = input_ids.shape[1]
    valid = attention_mask.bool()
    image = (input_ids == image_token_id) & valid
    seg = (input_ids == seg_token_id) & valid
    segments = seg.any(dim=1)[:, None, None]

    causal = torch.ones(length, length, dtype=torch.bool, device=input_ids.device).tril()
    two_way = image[:, :, None] & (image | seg)[:, None, :] & segments
    seen = (causal | two_way) & valid[:, None, :]
    seen = seen | torch.eye(length, dtype=torch.bool, device=input_ids.device)
    return ~seen[:, None]


def additive_mask(blocked: Tensor, dtype: torch.dtype) -> Tensor:
    """A blocked mask as the number added to the attention scores: 0 or the least of `dtype`.

    Every attention implementation of transformers reads this alike; a boolean would be taken for
    numbers by the eager one.
    """
    zero = torch.zeros((), dtype=dtype, device=blocked.device)
    return zero.expand(blocked.shape).masked_fill(blocked, torch.finfo(dtype).min)
