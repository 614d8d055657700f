import math
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from greedylr.rule import GreedyLRParameters
from greedylr.schedules import CONTROLS, RelativeRule, Schedule
from models.upper_bound import bounded

SCHEDULE = Schedule(rule=RelativeRule(factor=0.7, max_lr=10.0))


def largest_rate(schedule: Schedule, learning_rate: float) -> float:
    assert schedule.rule is not None
    return schedule.rule.max_lr * learning_rate


def test_the_upper_bound_is_cut_at_the_multiple_of_the_start_that_is_stable() -> None:
    assert bounded(SCHEDULE, 0.1, 0.25) == Schedule(rule=RelativeRule(factor=0.7, max_lr=2.5))


def test_a_bound_further_up_cuts_nothing() -> None:
    assert bounded(SCHEDULE, 0.1, 1.5) == SCHEDULE
    assert bounded(SCHEDULE, 0.1, None) == SCHEDULE


def test_a_start_above_the_bound_is_kept_and_never_raised() -> None:
    assert largest_rate(bounded(SCHEDULE, 0.5, 0.25), 0.5) == 0.5


def test_a_schedule_without_a_rule_has_nothing_to_cut() -> None:
    assert bounded(CONTROLS["cosine"], 0.1, 0.2) is CONTROLS["cosine"]


def test_bounds_that_are_rates_are_cut_as_rates() -> None:
    absolute = Schedule(rule=GreedyLRParameters(factor=0.7, min_lr=1e-3, max_lr=1.0, bounds="absolute"))
    relative = Schedule(rule=GreedyLRParameters(factor=0.7, min_lr=0.1, max_lr=10.0))
    for schedule, expected in ((absolute, 0.25), (relative, 2.5)):
        rule: Any = bounded(schedule, 0.1, 0.25).rule
        assert rule == replace(rule, max_lr=expected)


@given(start=st.floats(1e-8, 1e8), largest=st.floats(1e-8, 1e8))
def test_the_rate_is_never_raised_above_the_bound(start: float, largest: float) -> None:
    cut = bounded(SCHEDULE, start, largest)
    assert largest_rate(cut, start) <= max(start, largest)
    assert largest_rate(cut, start) <= largest_rate(SCHEDULE, start)


@pytest.mark.parametrize(("start", "largest"), [(0.0, 1.0), (0.1, -1.0), (math.nan, 1.0), (0.1, math.inf)])
def test_rates_that_are_none_are_refused(start: float, largest: float) -> None:
    with pytest.raises(ValueError, match="must be finite and > 0"):
        bounded(SCHEDULE, start, largest)
