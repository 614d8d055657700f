"""Logged values as losses."""

import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.logged_losses import MOST_POINTS, LoggedPoint, logged_loss

NAN, INFINITY = float("nan"), sys.float_info.max


def points(*values: float) -> list[LoggedPoint]:
    return [LoggedPoint(10 * number, 1000 + number, value) for number, value in enumerate(values)]


def test_first_and_last_are_by_step_and_then_by_time() -> None:
    shuffled = [LoggedPoint(2, 5, 0.3), LoggedPoint(0, 9, 2.0), LoggedPoint(2, 7, 0.1), LoggedPoint(1, 1, 0.7)]
    loss = logged_loss(shuffled)
    assert (loss.first, loss.last, loss.diverged_step, loss.count) == (2.0, 0.1, None, 4)
    assert (loss.steps, loss.losses) == ((0, 1, 2, 2), (2.0, 0.7, 0.3, 0.1))


def test_where_the_higher_value_is_better_its_negation_is_the_loss() -> None:
    loss = logged_loss(points(0.1, 0.9), "max")
    assert (loss.first, loss.last, loss.losses) == (-0.1, -0.9, (-0.1, -0.9))


@pytest.mark.parametrize(
    ("values", "diverged_step", "last"),
    [
        ((1.0, NAN, NAN), 10, None),
        ((1.0, 2.0, INFINITY), 20, None),
        ((1.0, 2.0, -INFINITY), 20, None),
        ((NAN,), 0, None),
        ((1.0, NAN, 2.0, NAN), 30, None),
        ((1.0, NAN, 0.5), None, 0.5),
    ],
)
def test_a_run_has_diverged_from_where_on_nothing_is_finite(
    values: tuple[float, ...], diverged_step: int | None, last: float | None
) -> None:
    loss = logged_loss(points(*values))
    assert (loss.diverged_step, loss.last) == (diverged_step, last)


@given(st.lists(st.floats(-1e3, 1e3), min_size=1, max_size=3 * MOST_POINTS))
def test_a_long_series_is_kept_short_with_both_its_ends(values: list[float]) -> None:
    loss = logged_loss(points(*values))
    assert len(loss.losses) == len(loss.steps) == min(len(values), MOST_POINTS)
    assert (loss.losses[0], loss.losses[-1], loss.count) == (values[0], values[-1], len(values))
    assert list(loss.steps) == sorted(set(loss.steps))


def test_a_series_without_points_is_refused() -> None:
    with pytest.raises(ValueError, match="a logged loss must have a point, got none"):
        logged_loss([])
