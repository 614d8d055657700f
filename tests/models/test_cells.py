import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.cells import (
    Region,
    is_decided,
    judge,
    needs_more_seeds,
    region_of,
    t_interval,
)

# Mean 0, standard deviation 1 of five values.
UNIT = np.array([-1.5, -0.5, 0.0, 0.5, 1.5]) / math.sqrt(1.25)


def test_the_interval_is_the_t_interval() -> None:
    # Standard error sqrt(0.5) of 1 .. 5, the 0.975 quantile of t with 4 degrees of freedom is 2.776445.
    interval = t_interval([1.0, 2.0, 3.0, 4.0, 5.0], level=0.95)
    assert (interval.lower, interval.upper) == pytest.approx((3 - 1.963243, 3 + 1.963243), abs=1e-6)
    assert interval.level == 0.95


def test_differences_that_are_all_equal_give_an_interval_of_one_point() -> None:
    interval = t_interval([-0.1] * 5, level=0.95)
    assert (interval.lower, interval.upper) == (-0.1, -0.1)


def test_ties_throughout_are_non_inferior_and_decide() -> None:
    judgement = judge([0.0] * 5)
    assert (judgement.verdict, judgement.difference, judgement.seeds) == ("non-inferior", 0.0, 5)
    assert (judgement.interval.lower, judgement.interval.upper) == (0.0, 0.0)
    assert is_decided(judgement)


@pytest.mark.parametrize(
    ("mean", "spread", "verdict"),
    [
        (-0.10, 0.01, "better"),
        (-0.01, 0.001, "better"),
        (0.00, 0.005, "non-inferior"),
        (0.10, 0.01, "worse"),
        (0.01, 0.001, "worse"),
        (0.00, 0.10, "undecided"),
        (-0.10, 0.20, "undecided"),
    ],
)
def test_the_verdict_follows_the_interval_and_the_margin(mean: float, spread: float, verdict: str) -> None:
    assert judge(mean + spread * UNIT).verdict == verdict


def test_a_worse_cell_may_lie_within_the_margin() -> None:
    judgement = judge(0.01 + 0.001 * UNIT)
    assert judgement.verdict == "worse"
    assert judgement.interval.upper < 0.02


def test_the_first_look_that_decides_ends_the_comparison() -> None:
    better = -0.1 + 0.01 * UNIT
    judgement = judge(np.concatenate([better, better + 0.5, better, better]))
    assert (judgement.verdict, judgement.seeds) == ("better", 5)
    assert judgement.interval.level == pytest.approx(0.982131, abs=1e-6)
    assert judgement.difference == pytest.approx(-0.1)


def test_an_undecided_look_goes_on_with_all_pairs_so_far() -> None:
    noisy = -0.1 + 0.08 * UNIT
    judgement = judge(np.concatenate([noisy, noisy]))
    assert (judge(noisy).verdict, judgement.verdict, judgement.seeds) == ("undecided", "better", 10)


def test_a_non_inferior_look_goes_on_while_a_gain_beyond_the_margin_is_possible() -> None:
    # Five pairs: -0.1 +- 0.11, non-inferior; ten show that it is better.
    promising = -0.1 + 0.065 * UNIT
    first = judge(promising)
    assert (first.verdict, is_decided(first), needs_more_seeds(first)) == ("non-inferior", False, 10)
    assert judge(np.concatenate([promising, promising])).verdict == "better"


def test_no_more_seeds_are_wanted_after_a_decision_or_the_last_look() -> None:
    assert needs_more_seeds(judge(0.1 + 0.01 * UNIT)) is None
    undecided = judge(np.tile(0.5 * UNIT, 4))
    assert (undecided.verdict, undecided.seeds, needs_more_seeds(undecided)) == ("undecided", 20, None)


def test_the_lenient_rule_passes_one_percent_or_two_standard_errors() -> None:
    assert judge([0.01] * 5).lenient
    assert not judge([0.011] * 5).lenient
    # Standard error 0.1 / sqrt(5) = 0.0447.
    assert judge(0.089 + 0.1 * UNIT).lenient
    assert not judge(0.090 + 0.1 * UNIT).lenient
    assert judge([-0.5] * 5).lenient


def test_differences_that_are_not_finite_are_refused() -> None:
    with pytest.raises(ValueError, match="with 1 not finite; a diverged run has the regret 1, not NaN"):
        judge([0.0, 0.0, math.nan, 0.0, 0.0])


def test_a_number_of_pairs_between_looks_is_refused() -> None:
    with pytest.raises(ValueError, match="got 7"):
        judge([0.0] * 7)


@pytest.mark.parametrize(
    ("multiple", "region"),
    [(1 / 27, "too low"), (1 / 3, "too low"), (1.0, "near"), (3.0, "too high"), (9.0, "too high")],
)
def test_regions_are_multiples_of_the_tuned_rate(multiple: float, region: Region) -> None:
    assert region_of(multiple) == region


PAIRS = st.lists(st.floats(-1, 1).map(lambda x: round(x, 3)), min_size=5, max_size=5)
OPPOSITE = {"better": "worse", "worse": "better"}


@given(differences=PAIRS)
@settings(max_examples=100, deadline=None, database=None)
def test_swapping_preset_and_control_swaps_better_and_worse(differences: list[float]) -> None:
    there, back = judge(differences), judge([-difference for difference in differences])
    assert back.interval.lower == pytest.approx(-there.interval.upper)
    if there.verdict in OPPOSITE:
        assert back.verdict == OPPOSITE[there.verdict]


@given(differences=PAIRS, more=PAIRS)
@settings(max_examples=100, deadline=None, database=None)
def test_later_pairs_never_revise_a_look_that_decided(differences: list[float], more: list[float]) -> None:
    first = judge(differences)
    both = judge(differences + more)
    assert (both == first) if is_decided(first) else (both.seeds == 10)
