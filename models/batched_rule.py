"""The rule of GreedyLR for many replicas at once: `greedylr.rule.next_state` on arrays, equal to it bit for bit.

Each parameter and each field of the state is an array of shape (n,), so replicas may differ in everything. The branches
of the scalar rule become masks; there is no loop over replicas and no waiting for the device. "max" is "min" of the
negated loss, which is exact.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np

from greedylr.rule import GUARD_CUT, GreedyLRParameters
from models.device_arrays import Array, device_array, namespace, surely_none


class BatchedStages(NamedTuple):
    """Stages of n rules, arrays of shape (n,): their lengths, and what happens in them."""

    cooldown: Array
    warmup: Array
    continues: Array
    silences: Array


class BatchedResets(NamedTuple):
    """Resets of n rules, arrays of shape (n,): who resets, and after how many lowerings at the lower bound."""

    happen: Array
    start: Array


class BatchedParameters(NamedTuple):
    """Parameters of n rules, arrays of shape (n,): float64, int64 or bool.

    A loss is better than the best if it lies below best x `slope` - `offset`, with the slope that fits the best's sign.
    Stages, resets and guard are None, and cost nothing, where no rule has them.
    """

    sign: Array
    factor: Array
    raise_factor: Array
    patience: Array
    slope_above_zero: Array
    slope_below_zero: Array
    offset: Array
    min_lr: Array
    max_lr: Array
    eps: Array
    compares_all: Array
    counts_as_bad: Array
    cuts: Array
    first_sets_best: Array
    stages: BatchedStages | None
    resets: BatchedResets | None
    guard: Array | None


class BatchedState(NamedTuple):
    """State of n rules, arrays of shape (n,); `best` is the negated one where the mode is "max"."""

    learning_rate: Array
    initial_learning_rate: Array
    best: Array
    num_good: Array
    num_bad: Array
    cooldown_counter: Array
    warmup_counter: Array
    reset_counter: Array
    resets: Array
    ceiling: Array


def stack_parameters(rules: Sequence[GreedyLRParameters], device: str = "cpu") -> BatchedParameters:
    """Return the parameters of many rules as arrays."""

    def floats(values: Iterable[float]) -> Array:
        return device_array(list(values), "float64", device)

    def counts(values: Iterable[int]) -> Array:
        return device_array(list(values), "int64", device)

    def flags(values: Iterable[bool]) -> Array:
        return device_array(list(values), "bool", device)

    slopes = [_slopes(rule) for rule in rules]
    return BatchedParameters(
        sign=floats(1.0 if rule.mode == "min" else -1.0 for rule in rules),
        factor=floats(rule.factor for rule in rules),
        raise_factor=floats(rule.raise_factor for rule in rules),
        patience=counts(rule.patience for rule in rules),
        slope_above_zero=floats(above for above, _ in slopes),
        slope_below_zero=floats(below for _, below in slopes),
        offset=floats(rule.threshold if rule.threshold_mode == "abs" else 0.0 for rule in rules),
        min_lr=floats(rule.min_lr for rule in rules),
        max_lr=floats(rule.max_lr for rule in rules),
        eps=floats(rule.eps for rule in rules),
        compares_all=flags(rule.non_finite == "compare" for rule in rules),
        counts_as_bad=flags(rule.non_finite == "bad" for rule in rules),
        cuts=flags(rule.non_finite == "cut" for rule in rules),
        first_sets_best=flags(rule.first_loss == "sets_best" for rule in rules),
        stages=BatchedStages(
            cooldown=counts(rule.cooldown for rule in rules),
            warmup=counts(rule.warmup for rule in rules),
            continues=flags(rule.stages == "continue" for rule in rules),
            silences=flags(rule.stages == "silence" for rule in rules),
        )
        if any(rule.cooldown or rule.warmup for rule in rules)
        else None,
        resets=BatchedResets(
            happen=flags(rule.reset_start is not None for rule in rules),
            start=counts(rule.reset_start or 0 for rule in rules),
        )
        if any(rule.reset_start is not None for rule in rules)
        else None,
        # No excess is above an infinite guard.
        guard=floats(math.inf if rule.guard is None else rule.guard for rule in rules)
        if any(rule.guard is not None for rule in rules)
        else None,
    )


def _slopes(rule: GreedyLRParameters) -> tuple[float, float]:
    """Return what the best is multiplied by where it is >= 0 and where it is < 0, after "max" was negated."""
    if rule.threshold_mode == "abs":
        return 1.0, 1.0
    stricter, laxer = 1.0 - rule.threshold, 1.0 + rule.threshold
    if rule.threshold_mode == "rel":
        return stricter, laxer
    return (stricter, stricter) if rule.mode == "min" else (laxer, laxer)


def initial_state(parameters: BatchedParameters, learning_rate: Array) -> BatchedState:
    """Return the states before the first loss; `learning_rate` (n,) float64 is 1 where the bounds are relative."""
    xp = namespace(learning_rate)
    infinity = xp.full_like(learning_rate, math.inf)
    zero = xp.zeros_like(parameters.patience)
    reset_counter = zero if parameters.resets is None else parameters.resets.start
    return BatchedState(learning_rate, learning_rate, infinity, zero, zero, zero, zero, reset_counter, zero, infinity)


@np.errstate(all="ignore")
def next_state(
    parameters: BatchedParameters,
    state: BatchedState,
    loss: Array,
    may_increase: Array | bool = True,
    decides: Array | bool = True,
) -> BatchedState:
    """Return the states after one decision on the losses (n,); the mathematics is `greedylr.rule.next_state`'s.

    `may_increase` and `decides` are bool arrays (n,), or one for all; who does not decide stays as it is.
    """
    where, isfinite = namespace(loss).where, namespace(loss).isfinite
    loss = loss * parameters.sign
    finite = isfinite(loss) | parameters.compares_all
    failed = ~finite & decides
    cut = failed & parameters.cuts
    bad_event = failed & parameters.counts_as_bad
    normal, trips = finite & decides, None
    if parameters.guard is not None:
        trips = normal & (loss - state.best > parameters.guard * abs(state.best))
        normal = normal & ~trips
    counted, moves = _counted(parameters, state, loss, normal)
    num_good = where(bad_event | cut, 0, counted.num_good)
    num_bad = counted.num_bad + bad_event

    moves = moves | bad_event
    raise_due = moves & (num_good > parameters.patience)
    raises = raise_due & may_increase
    lowers = (moves & ~raise_due & (num_bad > parameters.patience)) | cut
    after = counted._replace(num_good=where(raise_due, 0, num_good), num_bad=where(lowers, 0, num_bad))
    raised, lowered = raises, lowers
    if (stages := parameters.stages) is not None:
        cooling, warming = _in_stages(state, normal)
        raised = raises | (warming & stages.continues & may_increase)
        lowered = lowers | (cooling & stages.continues)
        after = after._replace(
            warmup_counter=where(cut, 0, where(raises, stages.warmup, after.warmup_counter)),
            cooldown_counter=where(lowers, stages.cooldown, after.cooldown_counter),
        )
    after = _moved(parameters, after, raised, lowered)
    if parameters.resets is not None:
        after = _reset(parameters.resets, parameters.min_lr, after, raised, lowered, lowers)
    return after if trips is None else chosen(trips, guarded(parameters, state), after)


def guarded(parameters: BatchedParameters, state: BatchedState) -> BatchedState:
    """Return the states after a loss beyond the guard, as `greedylr.rule.guarded`."""
    xp = namespace(state.best)
    rate = xp.minimum(state.learning_rate, xp.maximum(state.learning_rate * GUARD_CUT, parameters.min_lr))
    none = xp.zeros_like(state.num_good)
    return state._replace(learning_rate=rate, ceiling=rate, num_good=none, num_bad=none)


def chosen(which: Array, states: BatchedState, others: BatchedState) -> BatchedState:
    """Return the states of the replicas marked in `which` (n,), and the others of the rest."""
    where = namespace(which).where
    pairs = zip(states, others, strict=True)
    return BatchedState._make([one if one is other else where(which, one, other) for one, other in pairs])


def _in_stages(state: BatchedState, normal: Array) -> tuple[Array, Array]:
    """Return which of those with a normal loss are in a cooldown, and which in a warmup."""
    cooling = normal & (state.cooldown_counter > 0)
    return cooling, normal & ~cooling & (state.warmup_counter > 0)


def _counted(
    parameters: BatchedParameters, state: BatchedState, loss: Array, normal: Array
) -> tuple[BatchedState, Array]:
    """Return the states with the loss counted as good or bad, and which of them a move may follow.

    In a stage, which is then one decision shorter, some count nothing, and some one kind of loss only.
    """
    where = namespace(loss).where
    slope = where(state.best < 0, parameters.slope_below_zero, parameters.slope_above_zero)
    better = loss < state.best * slope - parameters.offset
    counts, sets_best, no_good, no_bad = normal, better, None, None
    if (stages := parameters.stages) is not None:
        cooling, warming = _in_stages(state, normal)
        silent = (cooling | warming) & ~stages.silences
        counts = normal & ~silent
        sets_best = better & (~silent | stages.continues)
        no_good, no_bad = silent | cooling, silent | warming
        state = state._replace(
            cooldown_counter=state.cooldown_counter - 1 * cooling, warmup_counter=state.warmup_counter - 1 * warming
        )
    # A NaN equals nothing, itself neither.
    first = counts & parameters.first_sets_best & (state.best == math.inf) & (loss == loss)
    better, worse = counts & ~first & better, counts & ~first & ~better
    num_good, num_bad = state.num_good + better, state.num_bad + worse
    return state._replace(
        best=where(first | (normal & sets_best), loss, state.best),
        num_good=where(worse if no_good is None else worse | no_good, 0, num_good),
        num_bad=where(better if no_bad is None else better | no_bad, 0, num_bad),
    ), counts


def _moved(parameters: BatchedParameters, state: BatchedState, up: Array, down: Array) -> BatchedState:
    """Return the states with the rates of some raised and of others lowered, as far as bounds and ceiling allow."""
    xp = namespace(up)
    old = state.learning_rate
    higher = xp.minimum(xp.minimum(old / parameters.raise_factor, parameters.max_lr), state.ceiling)
    lower = xp.maximum(old * parameters.factor, parameters.min_lr)
    rate = xp.where(up & (higher - old > parameters.eps), higher, old)
    rate = xp.where(down & (old - lower > parameters.eps), lower, rate)
    return state._replace(learning_rate=rate)


def _reset(
    settings: BatchedResets, min_lr: Array, state: BatchedState, up: Array, down: Array, lowers: Array
) -> BatchedState:
    """Return the states with the lowerings at the lower bound counted, and those reset that had enough of them."""
    xp = namespace(up)
    where = xp.where
    at_floor = down & settings.happen & ~(state.learning_rate > min_lr)
    resets = at_floor & ~(state.reset_counter > 1)
    after = state._replace(reset_counter=where(up | resets, settings.start, state.reset_counter - 1 * at_floor))
    if surely_none(resets):
        return after
    start = xp.minimum(state.initial_learning_rate, state.ceiling)
    return after._replace(
        learning_rate=where(resets, start, state.learning_rate),
        best=where(resets, math.inf, state.best),
        num_good=where(resets, 0, state.num_good),
        num_bad=where(resets, 0, state.num_bad),
        # A lowering that resets still starts its cooldown; one that a stage repeats starts none.
        cooldown_counter=where(resets & ~lowers, 0, state.cooldown_counter),
        warmup_counter=where(resets, 0, state.warmup_counter),
        resets=state.resets + resets,
    )
