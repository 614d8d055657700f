"""The range test that finds a starting rate: a short sweep of the rate upwards, until the loss turns.

Source: Smith, "Cyclical Learning Rates for Training Neural Networks" (WACV 2017), section 3.3; he reads the range off a
plot. Here the sweep is geometric, and the start is the rate of the best smoothed loss times a back-off: a sweep passes
each rate so quickly that it gets away with rates that a whole run would not.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

from greedylr.rule import require_number

FEWEST_EVALUATIONS = 10
LOWEST_SHARE, HIGHEST_SHARE = 0.005, 0.2
WIDEST = 1e12
# The smoothed loss remembers this share of the sweep, and at least so many losses.
MEMORY, SHORTEST_MEMORY = 0.1, 3.0
# A fall of the smoothed loss tells something if it is more than this share of its level, and so many standard errors:
# the lowest of a whole sweep's smoothed losses lies two or three of them below their mean by chance alone.
LEAST_FALL, STANDARD_ERRORS = 0.05, 5.0
# Standard deviation of normal noise over the mean absolute second difference: sqrt(pi / 12). Second differences, for a
# loss that falls steadily has none.
OF_SECOND_DIFFERENCES = 0.5117


@dataclass(frozen=True, kw_only=True)
class Probe:
    """The sweep that sets the starting rate.

    Parameters
    ----------
    share
        In [0.005, 0.2]: share of the run's steps that the sweep may take; it needs at least 10 evaluations.
    lowest, highest
        0 < lowest < highest <= 1e12 x lowest: from where to where the rate rises, in multiples of the own start.
    turn
        > 0: the sweep ends when the smoothed loss lies above its best by more than turn x |best|, and by more than its
        noise explains.
    back_off
        In (0, 1]: the start is the rate of the best smoothed loss times this.

    Raises
    ------
    ValueError
        For a value out of its range, naming rule, value and remedy.
    """

    share: float = 0.03
    lowest: float = 1e-2
    highest: float = 1e2
    turn: float = 3.0
    back_off: float = 0.2

    def __post_init__(self) -> None:
        require_number("probe.share", self.share, minimum=0.0)
        if not LOWEST_SHARE <= self.share <= HIGHEST_SHARE:
            raise ValueError(
                f"probe.share must lie in [{LOWEST_SHARE:g}, {HIGHEST_SHARE:g}], got {self.share!r}; a sweep that is "
                "shorter tells nothing, a longer one costs more than it can bring"
            )
        for name in ("lowest", "highest", "turn", "back_off"):
            require_number(f"probe.{name}", getattr(self, name), minimum=0.0)
        if not 0 < self.lowest < self.highest <= WIDEST * self.lowest:
            raise ValueError(
                f"probe.lowest and probe.highest must be 0 < lowest < highest <= {WIDEST:g} x lowest, got "
                f"{self.lowest!r} and {self.highest!r}; the rate is swept upwards, in few steps"
            )
        if self.turn == 0 or not 0 < self.back_off <= 1:
            raise ValueError(
                f"probe.turn must be > 0 and probe.back_off in (0, 1], got {self.turn!r} and {self.back_off!r}; "
                "the sweep goes past the best rate, never short of it"
            )

    def evaluations(self, total_steps: int, steps_per_evaluation: int) -> int:
        """Return how many evaluations the sweep of a run may take.

        Raises
        ------
        ValueError
            If that is fewer than 10.
        """
        count = round(self.share * total_steps / steps_per_evaluation)
        if count < FEWEST_EVALUATIONS:
            raise ValueError(
                f"the sweep of a probe must have at least {FEWEST_EVALUATIONS} evaluations, got {count} "
                f"(share={self.share:g}, total_steps={total_steps}, steps_per_evaluation={steps_per_evaluation}); "
                "raise probe.share, evaluate more often or train longer"
            )
        return count

    def multiplier(self, evaluation: int, evaluations: int) -> float:
        """Return what the start is multiplied by up to evaluation 0 .. evaluations - 1: from lowest to highest."""
        return self.lowest * float((self.highest / self.lowest) ** (evaluation / (evaluations - 1)))


class SweepState(NamedTuple):
    """Where a sweep stands.

    `average` is the exponential mean of the losses, not yet corrected for its start at 0, with `weight` in it;
    `level` is the smoothed loss that the fall is measured from, the first of a full memory. `roughness` is the sum of
    the absolute second differences of the losses, `last` and `change` the newest loss and difference; `noise` is the
    standard deviation that they told of when the `best` came, at the multiplier `best_multiplier`: what comes after it
    may be steps of a divergence. `turned_at` is the multiplier at which the loss turned, 0 while it has not.
    """

    evaluations: int = 0
    average: float = 0.0
    weight: float = 0.0
    last: float = 0.0
    change: float = 0.0
    roughness: float = 0.0
    noise: float = 0.0
    level: float = math.inf
    best: float = math.inf
    best_multiplier: float = 0.0
    turned_at: float = 0.0


def next_sweep(probe: Probe, evaluations: int, state: SweepState, loss: float, *, place: int) -> SweepState:
    """Return the state after one loss, the smaller the better; it is the loss of evaluation `place` of the sweep.

    A training loss is that of the weights before its own step, so it speaks of the rate before.
    """
    multiplier = probe.multiplier(max(place - 1, 0), evaluations)
    if not math.isfinite(loss):
        return state._replace(turned_at=multiplier)
    memory = _memory(evaluations)
    seen = state.evaluations + 1
    average = state.average + (loss - state.average) / memory
    weight = state.weight + (1.0 - state.weight) / memory
    smoothed = average / weight
    change = loss - state.last if state.evaluations else 0.0
    roughness = state.roughness + (abs(change - state.change) if seen > 2 else 0.0)
    state = state._replace(
        evaluations=seen, average=average, weight=weight, last=loss, change=change, roughness=roughness
    )
    if seen < memory:
        return state
    if math.isinf(state.level):
        state = state._replace(level=smoothed)
    if smoothed < state.best:
        noise = OF_SECOND_DIFFERENCES * roughness / (seen - 2)
        return state._replace(best=smoothed, best_multiplier=multiplier, noise=noise)
    rise = smoothed - state.best
    turned = rise > probe.turn * abs(state.best) and rise > STANDARD_ERRORS * _standard_error(state, evaluations)
    return state._replace(turned_at=multiplier) if turned else state


def chosen_multiplier(probe: Probe, evaluations: int, state: SweepState) -> float:
    """Return what to multiply the optimizer's own start by; 1 keeps it.

    The multiplier of the best smoothed loss times the back-off, if the loss fell by 5 % of its level at the beginning
    and by more than its noise explains. If it did not, nothing happened that speaks for another start; only if the loss
    turned below the own start is that one known to be too high, and the turn times the back-off is taken.
    """
    fall = state.level - state.best
    # Of a sweep that turned before its memory was full there is no level, and no fall.
    noise = STANDARD_ERRORS * _standard_error(state, evaluations)
    if math.isfinite(fall) and fall > LEAST_FALL * abs(state.level) and fall > noise:
        return state.best_multiplier * probe.back_off
    if state.turned_at:
        return min(1.0, state.turned_at * probe.back_off)
    return 1.0


def _memory(evaluations: int) -> float:
    return max(SHORTEST_MEMORY, MEMORY * evaluations)


def _standard_error(state: SweepState, evaluations: int) -> float:
    """Return that of the difference of two smoothed losses: a mean over m has 1 / (2 m - 1) of the variance of one."""
    return state.noise * math.sqrt(2.0 / (2.0 * _memory(evaluations) - 1.0))
