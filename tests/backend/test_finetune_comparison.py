from collections.abc import Sequence
from pathlib import Path

import pytest

from backend.finetune_comparison import Candidate, VersionComparison, first_to_pass
from backend.gate import Comparison, Verdict

BETTER = Comparison(12, 30, 0.3, 0.6, 0.2, 0.4)
ADAPTERS = {share: Path(f"{share:g}") for share in (0.9, 0.75, 0.6)}
PASSED, FORGETS = Verdict(()), Verdict(("It forgets.",), less_may_pass=True)
NO_BETTER = Verdict(("It is no better.",))


def choose(verdicts: Sequence[Verdict]) -> tuple[Candidate, list[str]]:
    """What is chosen where the gate says this of one after the other, and what was said."""
    upcoming, said = iter(verdicts), list[str]()
    chosen = first_to_pass(
        ADAPTERS,
        compare=lambda _: VersionComparison(BETTER, BETTER, "agreement", ()),
        decide=lambda _: next(upcoming),
        say=said.append,
    )
    assert next(upcoming, None) is None  # all of them were asked for
    return chosen, said


@pytest.mark.parametrize(
    ("verdicts", "share"),
    [
        ([PASSED], 0.9),
        ([FORGETS, PASSED], 0.75),
        ([FORGETS, FORGETS, PASSED], 0.6),
        ([FORGETS, FORGETS, FORGETS], 0.9),
        ([NO_BETTER], 0.9),
        ([FORGETS, NO_BETTER], 0.9),
    ],
)
def test_less_of_the_change_is_kept_until_it_passes(
    verdicts: Sequence[Verdict], share: float
) -> None:
    chosen, said = choose(verdicts)
    assert (chosen.kept_share, chosen.adapter) == (share, ADAPTERS[share])
    assert [line for line in said if line.startswith("gate: ")] == [
        f"gate: {verdict}" for verdict in verdicts
    ]
    assert said[0] == "with 90% of the change:"
