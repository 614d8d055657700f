"""What a scheduler tells of itself: one small frozen record a decision."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from greedylr.rule import GreedyLRState

DecisionKind = Literal["raise", "lower", "cut", "reset", "hold", "explore", "probe", "rollback"]


@dataclass(frozen=True, kw_only=True)
class Decision:
    """One decision of the rule, one moment of exploration, or the end of a sweep.

    Parameters
    ----------
    step
        Optimizer steps taken before it.
    kind
        "raise", "lower", "cut" (at once, by the guard or after a loss that is not finite), "reset", "hold" (the rate
        stays), "explore", "probe" (a sweep has ended and set the start), or "rollback" (the best weights are back, and
        the rate is cut).
    loss
        What the rule saw: smoothed, and averaged over the ranks, where that is done. Of "probe" the best smoothed one,
        NaN where there was none. None for "explore".
    old_rates, new_rates
        Rates before and after, one a group; the envelope's share of the change is in them too.
    factor, probability
        What exploration multiplies the rate by from here on, and with which probability that was drawn. Of "probe" what
        the start was multiplied by, 1 where the sweep told nothing and the optimizer's own is kept. None otherwise.
    """

    step: int
    kind: DecisionKind
    loss: float | None
    old_rates: tuple[float, ...]
    new_rates: tuple[float, ...]
    factor: float | None = None
    probability: float | None = None


def kind_of(old: Sequence[GreedyLRState], new: Sequence[GreedyLRState], loss: float) -> DecisionKind:
    """Return what the rule did between two states; of several groups, what the first did that did anything."""
    for before, after in zip(old, new, strict=True):
        if after.resets > before.resets:
            return "reset"
        if after.learning_rate > before.learning_rate:
            return "raise"
        if after.ceiling < before.ceiling:
            return "cut"
        if after.learning_rate < before.learning_rate:
            return "lower" if math.isfinite(loss) else "cut"
    return "hold"
