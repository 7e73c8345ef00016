"""How much of a training's change is kept."""

import pytest
import torch

from self1e import kept_change
from self1e.adapter import AdapterOptions, adapter_state, add_adapter, set_adapter_state
from self1e.agreement import ask_former
from self1e.kept_change import SHARES, keep_change
from self1e.model import Self1eModel
from self1e.predictor import Predictor
from self1e.replay import GENERAL_PROMPTS, SAMPLE_PHOTOS


@pytest.mark.parametrize(
    ("lost", "most_forgotten", "share"),
    [
        ([0.0], 0.0, 1.0),
        ([0.3, 0.2, 0.1], 0.1, 0.8),
        ([0.3] * len(SHARES), 0.1, 0.5),
    ],
)
def test_the_largest_share_is_kept_that_forgets_little_enough(
    tiny_model: Self1eModel,
    tiny_predictor: Predictor,
    monkeypatch: pytest.MonkeyPatch,
    lost: list[float],
    most_forgotten: float,
    share: float,
) -> None:
    former = ask_former(tiny_predictor, SAMPLE_PHOTOS[:1], ["a cat", "a dog"], count=2, seed=0)
    own = former[0].own_ious
    losses = iter(lost)

    def agreement(*_: object) -> list[list[float]]:
        less = next(losses)
        return [[iou - less + 1e-6 for iou in own]]

    monkeypatch.setattr(kept_change, "agreement", agreement)
    adapted = add_adapter(tiny_model, AdapterOptions(rank=4), {300})
    before = adapter_state(adapted)
    set_adapter_state(adapted, {name: each + 1 for name, each in before.items()})
    assert keep_change(adapted, tiny_predictor, before, former, most_forgotten) == share
    assert not list(losses)
    for name, each in adapter_state(adapted).items():
        torch.testing.assert_close(each, before[name] + share)


def test_a_change_that_makes_another_model_is_taken_back(
    tiny_model: Self1eModel, tiny_predictor: Predictor
) -> None:
    photos, prompts = SAMPLE_PHOTOS[:2], list(GENERAL_PROMPTS)
    former = ask_former(tiny_predictor, photos, prompts, count=4, seed=0)
    adapted = add_adapter(tiny_model, AdapterOptions(rank=4), {300})
    assert tiny_predictor.model is tiny_model
    before = adapter_state(adapted)
    pauses: list[None] = []
    kept = keep_change(adapted, tiny_predictor, before, former, 0.01, lambda: pauses.append(None))
    assert kept == 1  # nothing was trained
    assert len(pauses) == len(photos)
    torch.manual_seed(0)
    noise = {name: each + torch.randn_like(each) for name, each in before.items()}
    set_adapter_state(adapted, noise)
    assert keep_change(adapted, tiny_predictor, before, former, 0.01) < 1
