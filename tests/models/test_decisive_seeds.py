"""How many pairs would decide a cell."""

import numpy as np
import pytest

from models.cells import Cell, Judgement, judge, judge_what_is_left
from models.decisive_seeds import MOST_SEEDS, seeds_to_decide, what_it_lacks


def differences(mean: float, spread: float, count: int) -> np.ndarray:
    """Pairs with exactly this mean and standard deviation."""
    values = np.resize([-1.0, 1.0], count) if count % 2 == 0 else np.linspace(-1, 1, count)
    values = values - values.mean()
    return np.asarray(mean + spread * values / values.std(ddof=1))


@pytest.mark.parametrize(("mean", "spread"), [(-0.05, 0.06), (0.05, 0.06), (0.0, 0.015), (-0.01, 0.04)])
def test_with_the_seeds_foretold_a_cell_of_the_same_spread_is_decided_and_with_the_look_before_it_is_not(
    mean: float, spread: float
) -> None:
    assert judge(differences(mean, spread, 5)).verdict == "undecided"
    needed = seeds_to_decide(judge(differences(mean, spread, 5)))
    assert needed in (10, 20)
    assert judge(differences(mean, spread, needed)).verdict != "undecided"
    if needed == 20:
        assert judge(differences(mean, spread, 10)).verdict == "undecided"


def test_beyond_the_looks_seeds_are_counted_one_by_one() -> None:
    # t(n - 1) 0.1 / sqrt(n) < 0.02 at 98.1 %: 2.36 sigma, so about (2.36 * 0.1 / 0.02)^2 = 139.
    needed = seeds_to_decide(judge(differences(0.0, 0.1, 20)))
    assert needed is not None and 139 <= needed <= 143


def test_no_number_of_seeds_is_foretold_where_it_would_be_absurd() -> None:
    assert seeds_to_decide(judge(differences(0.01, 1.0, 5))) is None
    assert MOST_SEEDS == 10_000


def cell(judgement: Judgement, failed: int = 0) -> Cell:
    sides = {"only_preset_diverged": 0, "only_control_diverged": 0, "both_diverged": 0, "failed": failed}
    rates = {"starting_rate": 0.1, "control_rate": 0.1}
    return Cell(**vars(judgement), control="cosine", region="own rate", **rates, **sides)


def test_an_undecided_cell_says_what_it_saw_and_what_would_decide_it() -> None:
    assert what_it_lacks(cell(judge(differences(-0.05, 0.06, 5)))) == (
        "after 5 pairs the difference lies in [-0.154, +0.054]; at this spread 10 pairs would decide it, 10 more runs"
    )
    assert what_it_lacks(cell(judge(differences(0.01, 1.0, 5)))).endswith(
        "and no number of runs would decide it at this spread"
    )


def test_pairs_beyond_the_last_look_are_said_to_be_more_than_a_comparison_takes() -> None:
    assert what_it_lacks(cell(judge(differences(0.0, 0.1, 20)))).endswith("more runs (a comparison ends at 20 pairs)")


def test_a_decided_cell_has_nothing_to_say() -> None:
    assert what_it_lacks(cell(judge(differences(-0.5, 0.06, 5)))) == ""


def test_pairs_that_could_not_be_trained_are_told_of() -> None:
    assert what_it_lacks(cell(judge_what_is_left(differences(-0.5, 0.06, 3)), failed=2)) == (
        "2 pairs could not be trained; the 3 that are left are too few for an interval"
    )


def test_pairs_that_are_lost_are_said_of_a_decided_cell_too() -> None:
    decided = judge(differences(-0.5, 0.06, 5))
    assert what_it_lacks(cell(decided, failed=15)) == "15 pairs could not be trained"
    assert what_it_lacks(cell(decided, failed=1)) == "1 pair could not be trained"
