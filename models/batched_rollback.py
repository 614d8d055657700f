"""Rollbacks of many replicas at once: `greedylr.rollback.next_rollback` on arrays, equal to it bit for bit."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from greedylr.rollback import LEAST_LOST, Rollback, RollbackState
from models import batched_rule
from models.batched_rule import BatchedParameters, BatchedState
from models.device_arrays import Array, device_array, namespace


class BatchedRollbacks(NamedTuple):
    """Guard and limit of n rollbacks, arrays (n,)."""

    guard: Array
    limit: Array


class BatchedRollbackState(NamedTuple):
    """Where n replicas stand, arrays (n,); the fields are those of `greedylr.rollback.RollbackState`."""

    first: Array
    best: Array
    rollbacks: Array
    given_up: Array


class RollbackEvents(NamedTuple):
    """What is to be done about the weights of n replicas, flags (n,); at most one is set of each."""

    new_best: Array
    rollback: Array
    give_up: Array


def stack_rollbacks(rollbacks: Sequence[Rollback | None], device: str = "cpu") -> BatchedRollbacks:
    """Return the rollbacks of n replicas; one that has none goes back at no loss and gives up at once."""
    return BatchedRollbacks(
        guard=device_array([math.inf if each is None else each.guard for each in rollbacks], "float64", device),
        limit=device_array([0 if each is None else each.limit for each in rollbacks], "int64", device),
    )


def initial_rollback(rollbacks: BatchedRollbacks) -> BatchedRollbackState:
    """Return the states before the first decision; a limit of 0 has been reached."""
    infinity = namespace(rollbacks.guard).full_like(rollbacks.guard, RollbackState().best)
    return BatchedRollbackState(infinity, infinity, rollbacks.limit * 0, rollbacks.limit == 0)


@np.errstate(all="ignore")
def next_rollback(
    rollbacks: BatchedRollbacks, state: BatchedRollbackState, loss: Array, settled: Array
) -> tuple[BatchedRollbackState, RollbackEvents]:
    """Return the states after a decision on losses (n,), the smaller the better, and what is to be done.

    The mathematics is `greedylr.rollback.next_rollback`'s; `settled` (n,) marks the losses that can be compared.
    """
    xp = namespace(loss)
    finite = xp.isfinite(loss)
    looked_at = ~state.given_up & (settled | ~finite)
    lost, won = loss - state.best, state.first - state.best
    left_behind = (lost > rollbacks.guard * abs(state.best)) & (lost > LEAST_LOST * won) & (state.best != math.inf)
    fails = looked_at & (~finite | left_behind)
    gives_up = fails & (state.rollbacks == rollbacks.limit)
    goes_back = fails & ~gives_up
    new_best = looked_at & ~fails & (loss < state.best)
    after = BatchedRollbackState(
        first=xp.where(new_best & (state.first == math.inf), loss, state.first),
        best=xp.where(new_best, loss, state.best),
        rollbacks=state.rollbacks + goes_back,
        given_up=state.given_up | gives_up,
    )
    return after, RollbackEvents(new_best, goes_back, gives_up)


def rolled_back(parameters: BatchedParameters, state: BatchedState) -> BatchedState:
    """Return the rules' states after a rollback, as `greedylr.rollback.rolled_back`."""
    none = state.num_good * 0
    return batched_rule.guarded(parameters, state)._replace(cooldown_counter=none, warmup_counter=none)
