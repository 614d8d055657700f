"""The rule of GreedyLR for many replicas at once: `greedylr.rule.next_state` on arrays, equal to it bit for bit.

Each parameter and each field of the state is an array of shape (n,), so replicas may differ in everything. The branches
of the scalar rule become masks; there is no loop over replicas and no waiting for the device. "max" is "min" of the
negated loss, which is exact.

On the CPU a decision is as dear as its passes over the arrays. Choosing with `where` takes three times as long as
arithmetic, so counters are multiplied by flags; and only those that move are looked at for where to.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np

from greedylr.rule import GUARD_CUT, GreedyLRParameters
from models.device_arrays import (
    Array,
    device_array,
    namespace,
    rows_of,
    rows_replaced,
    rows_taken,
    surely_empty,
    surely_none,
)

# Counters are of 32 bits, half the memory to pass over; no run counts further than to the largest of them.
LARGEST_COUNT = 2**31 - 1


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


class BatchedFailures(NamedTuple):
    """What a loss that is not finite is to n rules, arrays of shape (n,): one like others, a bad one, or a cut."""

    compared: Array
    bad: Array
    cut: Array


class BatchedParameters(NamedTuple):
    """Parameters of n rules, arrays of shape (n,): float64, int32 or bool.

    A loss is better than the best if it lies below best x slope - `offset`, with the slope of the two that makes it
    the harder. What is None no rule has, and costs nothing.
    """

    sign: Array | None
    factor: Array
    raise_factor: Array
    patience: Array
    slopes: tuple[Array, Array] | None
    offset: Array
    min_lr: Array
    max_lr: Array
    eps: Array
    first_sets_best: Array | None
    failures: BatchedFailures | None
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
        return device_array([min(value, LARGEST_COUNT) for value in values], "int32", device)

    def flags(values: Iterable[bool]) -> Array:
        return device_array(list(values), "bool", device)

    slopes = [_slopes(rule) for rule in rules]
    return BatchedParameters(
        sign=floats(1.0 if rule.mode == "min" else -1.0 for rule in rules)
        if any(rule.mode == "max" for rule in rules)
        else None,
        factor=floats(rule.factor for rule in rules),
        raise_factor=floats(rule.raise_factor for rule in rules),
        patience=counts(rule.patience for rule in rules),
        slopes=(floats(above for above, _ in slopes), floats(below for _, below in slopes))
        if any(rule.threshold_mode != "abs" for rule in rules)
        else None,
        offset=floats(rule.threshold if rule.threshold_mode == "abs" else 0.0 for rule in rules),
        min_lr=floats(rule.min_lr for rule in rules),
        max_lr=floats(rule.max_lr for rule in rules),
        eps=floats(rule.eps for rule in rules),
        first_sets_best=flags(rule.first_loss == "sets_best" for rule in rules)
        if any(rule.first_loss == "sets_best" for rule in rules)
        else None,
        failures=BatchedFailures(
            compared=flags(rule.non_finite == "compare" for rule in rules),
            bad=flags(rule.non_finite == "bad" for rule in rules),
            cut=flags(rule.non_finite == "cut" for rule in rules),
        )
        if any(rule.non_finite != "compare" for rule in rules)
        else None,
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
    may_increase: Array | None = None,
    decides: Array | None = None,
) -> BatchedState:
    """Return the states after one decision on the losses (n,); the mathematics is `greedylr.rule.next_state`'s.

    `may_increase` and `decides` are bool arrays (n,), None for all; who does not decide stays as it is.
    """
    loss = signed(parameters, loss)
    normal, bad, cut, trips = decides, None, None, None
    if parameters.failures is not None:
        fit = usable(parameters, loss)
        failed = _among(decides, ~fit)
        if not surely_none(failed):
            normal, bad, cut = _among(decides, fit), failed & parameters.failures.bad, failed & parameters.failures.cut
    if parameters.guard is not None:
        trips = _among(normal, loss - state.best > parameters.guard * abs(state.best))
        normal = _among(normal, ~trips)
    stage = None if parameters.stages is None else _stage(state, normal)
    after, moves = _counted(parameters, state, loss, normal, stage)
    if bad is not None:
        after = after._replace(num_good=after.num_good * ~(bad | cut), num_bad=after.num_bad + bad)
        moves = moves | bad
    after = _moved(parameters, after, moves, cut, may_increase, stage)
    return after if trips is None else chosen(trips, guarded(parameters, state), after)


def signed(parameters: BatchedParameters, loss: Array) -> Array:
    """Return losses (n,) of which the smaller is the better; it is its own inverse."""
    return loss if parameters.sign is None else loss * parameters.sign


def usable(parameters: BatchedParameters, loss: Array) -> Array:
    """Return which losses (n,) are compared with the best, as the finite ones are, and to some rules all."""
    finite = namespace(loss).isfinite(loss)
    return finite | (True if parameters.failures is None else parameters.failures.compared)


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


def _among(those: Array | None, flags: Array) -> Array:
    """Return the flags of those only, None for all: NumPy takes ten times as long to join flags with one `True`."""
    return flags if those is None else those & flags


class _Stage(NamedTuple):
    """Which of those with a normal loss are in a cooldown, and which in a warmup, (n,)."""

    cooling: Array
    warming: Array


def _stage(state: BatchedState, normal: Array | None) -> _Stage:
    cooling = _among(normal, state.cooldown_counter > 0)
    return _Stage(cooling, _among(normal, ~cooling & (state.warmup_counter > 0)))


def _counted(
    parameters: BatchedParameters, state: BatchedState, loss: Array, normal: Array | None, stage: _Stage | None
) -> tuple[BatchedState, Array | None]:
    """Return the states with the loss counted as good or bad, and which of them a move may follow.

    In a stage, which is then one decision shorter, some count nothing, and some one kind of loss only.
    """
    better = _better(parameters, state.best, loss)
    counts, sets_best = normal, _among(normal, better)
    silent = None
    if (stages := parameters.stages) is not None and stage is not None:
        silent = (stage.cooling | stage.warming) & ~stages.silences
        counts = _among(normal, ~silent)
        sets_best = sets_best & (~silent | stages.continues)
    good, bad = _among(counts, better), _among(counts, ~better)
    if (first := _first(parameters, state.best, loss)) is not None:
        first = _among(counts, first)
        good, bad, sets_best = good & ~first, bad & ~first, sets_best | first
    best = state.best if surely_none(sets_best) else namespace(loss).where(sets_best, loss, state.best)
    state = state._replace(
        best=best,
        num_good=(state.num_good + good) * ~bad,
        num_bad=(state.num_bad + bad) * ~good,
    )
    return (state if stage is None else _shortened(state, stage, silent)), counts


def _shortened(state: BatchedState, stage: _Stage, silent: Array) -> BatchedState:
    """Return the states with stages one decision shorter, in which nothing, or one kind of loss, is counted."""
    return state._replace(
        num_good=state.num_good * ~(silent | stage.cooling),
        num_bad=state.num_bad * ~(silent | stage.warming),
        cooldown_counter=state.cooldown_counter - 1 * stage.cooling,
        warmup_counter=state.warmup_counter - 1 * stage.warming,
    )


def _better(parameters: BatchedParameters, best: Array, loss: Array) -> Array:
    """Return which losses are better than the best."""
    if parameters.slopes is not None:
        stricter, laxer = parameters.slopes
        best = namespace(loss).minimum(best * stricter, best * laxer)
    return loss < best - parameters.offset


def _first(parameters: BatchedParameters, best: Array, loss: Array) -> Array | None:
    """Return which losses set the best because there is none yet; None where there surely is one."""
    if parameters.first_sets_best is None:
        return None
    none_yet = parameters.first_sets_best & (best == math.inf)
    # A NaN equals nothing, itself neither.
    return None if surely_none(none_yet) else none_yet & (loss == loss)


def _moved(
    parameters: BatchedParameters,
    state: BatchedState,
    moves: Array | None,
    cut: Array | None,
    may_increase: Array | None,
    stage: _Stage | None,
) -> BatchedState:
    """Return the states with the rates moved of those whose counters, a stage or a cut say so."""
    up = _among(moves, state.num_good > parameters.patience)
    down = lowers = _among(moves, ~up & (state.num_bad > parameters.patience))
    if cut is not None:
        down = lowers = lowers | cut
    if (stages := parameters.stages) is not None and stage is not None:
        where = namespace(lowers).where
        warmup = where(_among(may_increase, up), stages.warmup, state.warmup_counter)
        state = state._replace(
            warmup_counter=warmup if cut is None else warmup * ~cut,
            cooldown_counter=where(lowers, stages.cooldown, state.cooldown_counter),
        )
        up, down = up | (stage.warming & stages.continues), down | (stage.cooling & stages.continues)
    return _lowered(parameters, _raised(parameters, state, up, may_increase), down, lowers)


def _raised(parameters: BatchedParameters, state: BatchedState, up: Array, may_increase: Array | None) -> BatchedState:
    """Return the states with the rates of some raised, where they may be, as far as bound and ceiling allow."""
    if surely_empty(due := rows_of(up)):
        return state
    state = state._replace(num_good=rows_replaced(state.num_good, due, 0))
    rows, xp = due if may_increase is None else rows_of(up & may_increase), namespace(up)
    old, ceiling = rows_taken(rows, state.learning_rate, state.ceiling)
    factor, max_lr, eps = rows_taken(rows, parameters.raise_factor, parameters.max_lr, parameters.eps)
    higher = xp.minimum(xp.minimum(old / factor, max_lr), ceiling)
    rate = xp.where(higher - old > eps, higher, old)
    state = state._replace(learning_rate=rows_replaced(state.learning_rate, rows, rate))
    if parameters.resets is None:
        return state
    (start,) = rows_taken(rows, parameters.resets.start)
    return state._replace(reset_counter=rows_replaced(state.reset_counter, rows, start))


def _lowered(parameters: BatchedParameters, state: BatchedState, down: Array, lowers: Array) -> BatchedState:
    """Return the states with the rates of some lowered, as far as the bound allows; some of them reset."""
    if surely_empty(rows := rows_of(down)):
        return state
    xp = namespace(down)
    old, factor = rows_taken(rows, state.learning_rate, parameters.factor)
    min_lr, eps = rows_taken(rows, parameters.min_lr, parameters.eps)
    lower = xp.maximum(old * factor, min_lr)
    rate = xp.where(old - lower > eps, lower, old)
    state = state._replace(
        learning_rate=rows_replaced(state.learning_rate, rows, rate), num_bad=rows_replaced(state.num_bad, rows, 0)
    )
    return state if parameters.resets is None else _reset(parameters.resets, state, rows, ~(rate > min_lr), lowers)


def _reset(settings: BatchedResets, state: BatchedState, rows: Array, at_floor: Array, lowers: Array) -> BatchedState:
    """Return the states with the lowerings at the lower bound counted, and those reset that had enough of them."""
    where = namespace(lowers).where
    happen, counter, start = rows_taken(rows, settings.happen, state.reset_counter, settings.start)
    at_floor = at_floor & happen
    if surely_none(at_floor):
        return state
    due = at_floor & ~(counter > 1)
    counter = where(due, start, counter - 1 * at_floor)
    state = state._replace(reset_counter=rows_replaced(state.reset_counter, rows, counter))
    if surely_none(due):
        return state
    resets = rows_replaced(lowers & False, rows, due)
    start = namespace(lowers).minimum(state.initial_learning_rate, state.ceiling)
    return state._replace(
        learning_rate=where(resets, start, state.learning_rate),
        best=where(resets, math.inf, state.best),
        num_good=state.num_good * ~resets,
        num_bad=state.num_bad * ~resets,
        # A lowering that resets still starts its cooldown; one that a stage repeats starts none.
        cooldown_counter=state.cooldown_counter * ~(resets & ~lowers),
        warmup_counter=state.warmup_counter * ~resets,
        resets=state.resets + resets,
    )
