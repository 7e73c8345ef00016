"""How much of what a fine-tuning changed is kept: as much as forgets little.

Between the weights before a training and those after it lie models that have learned most of it and
forgotten less (Wortsman et al., "Robust fine-tuning of zero-shot models", CVPR 2022).
"""

from collections.abc import Callable, Mapping, Sequence

from peft import PeftModel
from torch import Tensor

from self1e.adapter import adapter_state, set_adapter_state
from self1e.agreement import FormerAnswers, agreement
from self1e.predictor import Predictor

SHARES = (1.0, 0.9, 0.8, 0.7, 0.6, 0.5)
"""Shares of the change that are tried, the largest first."""


def keep_change(
    adapted: PeftModel,
    predictor: Predictor,
    before: Mapping[str, Tensor],
    former: Sequence[FormerAnswers],
    most_forgotten: float,
    pause: Callable[[], None] = lambda: None,
) -> float:
    """Takes so much of a training back that the model agrees with what it was sure of before.

    Args:
        adapted: the trained model, whose adapter is changed.
        predictor: that asks it.
        before: its adapter's weights before the training (`self1e.adapter.adapter_state`).
        former: what it was sure of before.
        most_forgotten: largest loss of the mean IoU to expect of these answers, 0..1.
        pause: called before each photo; returns when work may go on.

    Returns:
        The share of the change that was kept: the first of SHARES that forgets no more, or else the
        last.
    """
    after = adapter_state(adapted)
    own = _mean([answers.own_ious for answers in former])
    for share in SHARES:
        blended = {name: before[name].lerp(each, share) for name, each in after.items()}
        set_adapter_state(adapted, blended)
        if own - _mean(agreement(predictor, former, pause)) <= most_forgotten:
            return share
    return SHARES[-1]


def _mean(groups: Sequence[Sequence[float]]) -> float:
    every = [value for group in groups for value in group]
    return sum(every) / len(every)
