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
from models.device_arrays import Array, device_array, namespace


class BatchedParameters(NamedTuple):
    """Parameters of n rules, arrays of shape (n,): float64, int64 or bool.

    A loss is better than the best if it lies below best x `slope` - `offset`, with the slope that fits the best's sign.
    """

    sign: Array
    factor: Array
    raise_factor: Array
    patience: Array
    slope_above_zero: Array
    slope_below_zero: Array
    offset: Array
    cooldown: Array
    warmup: Array
    continues: Array
    silences: Array
    min_lr: Array
    max_lr: Array
    eps: Array
    resets: Array
    reset_start: Array
    guard: Array
    compares_all: Array
    ignores: Array
    cuts: Array
    first_sets_best: Array


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

    def counts(values: Iterable[int | None]) -> Array:
        return device_array([value or 0 for value in values], "int64", device)

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
        cooldown=counts(rule.cooldown for rule in rules),
        warmup=counts(rule.warmup for rule in rules),
        continues=flags(rule.stages == "continue" for rule in rules),
        silences=flags(rule.stages == "silence" for rule in rules),
        min_lr=floats(rule.min_lr for rule in rules),
        max_lr=floats(rule.max_lr for rule in rules),
        eps=floats(rule.eps for rule in rules),
        resets=flags(rule.reset_start is not None for rule in rules),
        reset_start=counts(rule.reset_start for rule in rules),
        # No excess is above an infinite guard.
        guard=floats(math.inf if rule.guard is None else rule.guard for rule in rules),
        compares_all=flags(rule.non_finite == "compare" for rule in rules),
        ignores=flags(rule.non_finite == "ignore" for rule in rules),
        cuts=flags(rule.non_finite == "cut" for rule in rules),
        first_sets_best=flags(rule.first_loss == "sets_best" for rule in rules),
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
    return BatchedState(
        learning_rate, learning_rate, infinity, zero, zero, zero, zero, parameters.reset_start, zero, infinity
    )


@np.errstate(all="ignore")
def next_state(
    parameters: BatchedParameters, state: BatchedState, loss: Array, may_increase: Array | bool = True
) -> BatchedState:
    """Return the states after one decision on the losses (n,); the mathematics is `greedylr.rule.next_state`'s.

    `may_increase` is a bool array (n,), or one for all.
    """
    where, isfinite = namespace(loss).where, namespace(loss).isfinite
    loss = loss * parameters.sign
    finite = isfinite(loss) | parameters.compares_all
    trips = finite & (loss - state.best > parameters.guard * abs(state.best))
    normal = finite & ~trips
    cooling = normal & (state.cooldown_counter > 0)
    warming = normal & ~cooling & (state.warmup_counter > 0)
    counted = _count(parameters, state, loss, normal=normal, cooling=cooling, warming=warming)
    bad_event = ~finite & ~parameters.ignores & ~parameters.cuts
    cut = ~finite & parameters.cuts
    num_good = where(trips | bad_event | cut, 0, counted.num_good)
    num_bad = where(trips | cut, 0, counted.num_bad + bad_event)

    moves = (normal & ~((cooling | warming) & ~parameters.silences)) | bad_event
    raise_due = moves & (num_good > parameters.patience)
    raises = raise_due & may_increase
    lowers = (moves & ~raise_due & (num_bad > parameters.patience)) | cut
    counted = counted._replace(
        num_good=where(raise_due, 0, num_good),
        num_bad=where(lowers, 0, num_bad),
        warmup_counter=where(cut, 0, where(raises, parameters.warmup, counted.warmup_counter)),
        cooldown_counter=where(lowers, parameters.cooldown, counted.cooldown_counter),
    )
    repeats_raise = warming & parameters.continues & may_increase
    repeats_lowering = cooling & parameters.continues
    return _changed(parameters, counted, raises | repeats_raise, lowers, repeats_lowering, trips)


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


def _count(
    parameters: BatchedParameters,
    state: BatchedState,
    loss: Array,
    *,
    normal: Array,
    cooling: Array,
    warming: Array,
) -> BatchedState:
    """Return the states with the loss counted as good or bad, and the stages one decision shorter."""
    where = namespace(loss).where
    in_stage = cooling | warming
    slope = where(state.best < 0, parameters.slope_below_zero, parameters.slope_above_zero)
    better = loss < state.best * slope - parameters.offset
    counts = normal & (~in_stage | parameters.silences)
    # A NaN equals nothing, itself neither.
    first = counts & parameters.first_sets_best & (state.best == math.inf) & (loss == loss)
    good = counts & ~first & better
    bad = counts & ~first & ~better
    keeps_best_only = in_stage & parameters.continues & better
    silent = in_stage & ~parameters.silences
    return state._replace(
        best=where(first | good | keeps_best_only, loss, state.best),
        num_good=where(bad | silent | cooling, 0, state.num_good + good),
        num_bad=where(good | silent | warming, 0, state.num_bad + bad),
        cooldown_counter=where(cooling, state.cooldown_counter - 1, state.cooldown_counter),
        warmup_counter=where(warming, state.warmup_counter - 1, state.warmup_counter),
    )


def _changed(
    parameters: BatchedParameters,
    state: BatchedState,
    up: Array,
    lowers: Array,
    repeats_lowering: Array,
    trips: Array,
) -> BatchedState:
    """Return the states with the rates raised, lowered, reset or cut by the guard."""
    xp = namespace(up)
    where, minimum = xp.where, xp.minimum
    old = state.learning_rate
    higher = minimum(minimum(old / parameters.raise_factor, parameters.max_lr), state.ceiling)
    lower = xp.maximum(old * parameters.factor, parameters.min_lr)
    down = lowers | repeats_lowering
    rate = where(up & (higher - old > parameters.eps), higher, old)
    rate = where(down & (old - lower > parameters.eps), lower, rate)
    rate = where(trips, guarded(parameters, state).learning_rate, rate)

    at_floor = down & parameters.resets & ~(rate > parameters.min_lr)
    resets = at_floor & ~(state.reset_counter > 1)
    counter = where(at_floor, state.reset_counter - 1, state.reset_counter)
    # A lowering that resets still starts its cooldown; one that a stage repeats starts none.
    silent = resets & ~lowers
    return BatchedState(
        learning_rate=where(resets, minimum(state.initial_learning_rate, state.ceiling), rate),
        initial_learning_rate=state.initial_learning_rate,
        best=where(resets, math.inf, state.best),
        num_good=where(resets, 0, state.num_good),
        num_bad=where(resets, 0, state.num_bad),
        cooldown_counter=where(silent, 0, state.cooldown_counter),
        warmup_counter=where(resets, 0, state.warmup_counter),
        reset_counter=where(up | resets, parameters.reset_start, counter),
        resets=state.resets + resets,
        ceiling=where(trips, rate, state.ceiling),
    )
