import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.time_to_target import Arrivals, arrival, compare, restricted_mean


def arrivals(*seconds: float, reached: list[bool] | None = None) -> Arrivals:
    return Arrivals(seconds=np.array(seconds), reached=np.array(reached or [True] * len(seconds)))


@pytest.mark.parametrize(
    ("losses", "target", "horizon", "expected"),
    [
        ([3.0, 1.0, 0.5, 0.4], 0.5, 10.0, (3.0, True)),
        # Once there is there, though it goes up again.
        ([3.0, 0.5, 2.0, 2.0], 0.5, 10.0, (2.0, True)),
        ([3.0, 2.0, 1.0, 0.9], 0.5, 10.0, (10.0, False)),
        ([3.0, np.nan, np.nan, np.nan], 0.5, 10.0, (10.0, False)),
        ([3.0, -np.inf, np.nan, np.nan], 0.5, 10.0, (10.0, False)),
        # It arrives, but when nobody waits any more.
        ([3.0, 1.0, 0.5, 0.4], 0.5, 2.5, (2.5, False)),
    ],
)
def test_arrival_is_the_first_look_at_or_below_the_target(
    losses: list[float], target: float, horizon: float, expected: tuple[float, bool]
) -> None:
    seconds = np.array([1.0, 2.0, 3.0, 4.0])
    assert arrival(seconds, np.array(losses), target=target, horizon=horizon) == expected


def test_run_that_never_arrives_counts_as_the_horizon() -> None:
    assert restricted_mean(arrivals(1.0, 3.0, 8.0, reached=[True, True, False]), 8.0) == pytest.approx(4.0)
    assert restricted_mean(arrivals(8.0, 8.0, reached=[False, False]), 8.0) == 8.0
    assert restricted_mean(arrivals(1.0, 8.0), 8.0) == pytest.approx(4.5)


def test_run_that_was_watched_for_less_than_the_horizon_counts_by_kaplan_and_meier() -> None:
    # Until 2 all four wait; one of four arrives at 2, one is lost sight of at 3, one of the two that are left arrives
    # at 6: S is 1 until 2, 3/4 until 6, 3/8 until 10.
    watched = arrivals(2.0, 3.0, 6.0, 10.0, reached=[True, False, True, False])
    assert restricted_mean(watched, 10.0) == pytest.approx(2 + 0.75 * 4 + 0.375 * 4)


@given(st.lists(st.tuples(st.floats(0.01, 10.0), st.booleans()), min_size=1, max_size=12))
def test_restricted_mean_is_the_plain_mean_where_all_wait_until_the_horizon(runs: list[tuple[float, bool]]) -> None:
    seconds = [each if reached else 10.0 for each, reached in runs]
    watched = arrivals(*seconds, reached=[reached for _, reached in runs])
    assert restricted_mean(watched, 10.0) == pytest.approx(np.mean(seconds))


def test_pairs_are_kept_in_the_interval() -> None:
    # The second takes twice as long on each seed, whatever the seed: no resample says otherwise.
    first, second = arrivals(1.0, 2.0, 3.0, 4.0, 5.0), arrivals(2.0, 4.0, 6.0, 8.0, 10.0)
    compared = compare(first, second, horizon=20.0, seed=0)
    assert (compared.first, compared.second, compared.ratio) == pytest.approx((3.0, 6.0, 2.0))
    assert (compared.lower, compared.upper) == pytest.approx((2.0, 2.0))


def test_interval_covers_one_where_either_is_ahead_on_some_seeds() -> None:
    first, second = arrivals(1.0, 2.0, 3.0, 4.0), arrivals(2.0, 1.0, 4.0, 3.0)
    compared = compare(first, second, horizon=20.0, seed=0)
    assert compared.lower < 1.0 < compared.upper


def test_runs_that_are_no_pairs_are_refused() -> None:
    with pytest.raises(ValueError, match="at least two pairs, got 1 and 2; train both with the same seeds"):
        compare(arrivals(1.0), arrivals(1.0, 2.0), horizon=3.0, seed=0)
    with pytest.raises(ValueError, match="one of each a seed"):
        Arrivals(seconds=np.array([1.0, 2.0]), reached=np.array([True]))
