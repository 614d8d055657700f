"""When to go back to the best weights: a loss that has left its guard, or is not finite. Asked for in pytorch 2478."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, NamedTuple

from greedylr.rule import GreedyLRParameters, GreedyLRState, guarded, require_count, require_number

# A loss that has given back less than this share of all that was won is not left behind, whatever its size: near zero
# the loss of a training that has converged is many times its best, time and again.
LEAST_LOST = 0.01


@dataclass(frozen=True, kw_only=True)
class Rollback:
    """Going back to the weights of the best smoothed loss when it is left far behind.

    Parameters
    ----------
    guard
        >= 0. A smoothed loss above best + guard x |best| (below, where more is better) is left behind, once its window
        is full and more than 1 % of the way from the first loss to the best is lost; one that is not finite always is.
    limit
        >= 1: after so many times the run is left to itself.

    Raises
    ------
    ValueError
        For a value out of its range.
    """

    guard: float = 0.3
    limit: int = 3

    def __post_init__(self) -> None:
        require_number("rollback.guard", self.guard, minimum=0.0)
        require_count("rollback.limit", self.limit, minimum=1)


class RollbackState(NamedTuple):
    """First and best smoothed loss (the smaller the better), rollbacks made, and whether there will be no more."""

    first: float = math.inf
    best: float = math.inf
    rollbacks: int = 0
    given_up: bool = False


RollbackEvent = Literal["new_best", "rollback", "give_up"]


def next_rollback(
    rollback: Rollback, state: RollbackState, loss: float, *, settled: bool = True
) -> tuple[RollbackState, RollbackEvent | None]:
    """Return the state after a decision on a smoothed loss, the smaller the better, and what is to be done.

    A loss that is not `settled`, the mean of a window that is not full yet, is too noisy to be compared: one batch
    would pass for a best, and after a rollback, which empties the window, the next bad batch would be one more.
    """
    if state.given_up or (not settled and math.isfinite(loss)):
        return state, None
    if not math.isfinite(loss) or _is_left_behind(rollback, state, loss):
        if state.rollbacks == rollback.limit:
            return state._replace(given_up=True), "give_up"
        return state._replace(rollbacks=state.rollbacks + 1), "rollback"
    if loss >= state.best:
        return state, None
    return state._replace(first=loss if math.isinf(state.first) else state.first, best=loss), "new_best"


def _is_left_behind(rollback: Rollback, state: RollbackState, loss: float) -> bool:
    if math.isinf(state.best):
        return False
    lost, won = loss - state.best, state.first - state.best
    return lost > rollback.guard * abs(state.best) and lost > LEAST_LOST * won


def rolled_back(parameters: GreedyLRParameters, state: GreedyLRState) -> GreedyLRState:
    """Return the rule's state after a rollback: the rate cut and capped as its guard does, counters and stages anew."""
    return guarded(parameters, state)._replace(cooldown_counter=0, warmup_counter=0)
