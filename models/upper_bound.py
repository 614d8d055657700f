"""A schedule whose rule never raises the rate above what the workload is stable at."""

from __future__ import annotations

import math
from dataclasses import replace

from greedylr.rule import GreedyLRParameters
from greedylr.schedules import Schedule


def bounded(schedule: Schedule, learning_rate: float, largest_stable_rate: float | None) -> Schedule:
    """Return the schedule with the upper bound of its rule cut at `largest_stable_rate / learning_rate`.

    The upper bound is a multiple of the starting rate, so the cut holds for that start alone, and not for one that a
    probe finds. A start that lies above the largest stable rate is kept, and never raised: a bound that is derived is
    often too careful (`models.nmf`), and a rate that was tuned live knows better.

    Parameters
    ----------
    schedule
        One without a rule has nothing to cut.
    learning_rate
        > 0, the start.
    largest_stable_rate
        > 0; None, where none is known, cuts nothing.

    Raises
    ------
    ValueError
        If a rate is none.

    Examples
    --------
    >>> from greedylr.schedules import RelativeRule
    >>> bounded(Schedule(rule=RelativeRule(factor=0.5, max_lr=10.0)), 0.5, 2.0).rule.max_lr
    4.0
    """
    for name, rate in (("learning_rate", learning_rate), ("largest_stable_rate", largest_stable_rate)):
        if rate is not None and not (math.isfinite(rate) and rate > 0):
            raise ValueError(f"{name} must be finite and > 0, got {rate!r}; a bound is a multiple of the start")
    if largest_stable_rate is None or schedule.rule is None:
        return schedule
    if isinstance(schedule.rule, GreedyLRParameters) and schedule.rule.bounds == "absolute":
        most = max(learning_rate, largest_stable_rate)
    else:
        most = max(1.0, _multiple(largest_stable_rate, learning_rate))
    return replace(schedule, rule=replace(schedule.rule, max_lr=min(schedule.rule.max_lr, most)))


def _multiple(largest: float, start: float) -> float:
    """Return largest / start, rounded so that its product with the start does not lie above `largest`."""
    multiple = largest / start
    return multiple if multiple * start <= largest else math.nextafter(multiple, 0.0)
