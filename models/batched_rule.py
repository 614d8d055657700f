"""The rule of GreedyLR for many replicas at once: `greedylr.rule.next_state` on tensors, equal to it bit for bit.

Each parameter and each field of the state is a tensor of shape (n,), so replicas may differ in everything. The branches
of the scalar rule become masks; there is no loop over replicas and no waiting for the device. "max" is "min" of the
negated loss, which is exact.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from greedylr.rule import GUARD_CUT, GreedyLRParameters


class BatchedParameters(NamedTuple):
    """Parameters of n rules, tensors of shape (n,): float64, int64 or bool.

    A loss is better than the best if it lies below best x `slope` - `offset`, with the slope that fits the best's sign.
    """

    sign: Tensor
    factor: Tensor
    raise_factor: Tensor
    patience: Tensor
    slope_above_zero: Tensor
    slope_below_zero: Tensor
    offset: Tensor
    cooldown: Tensor
    warmup: Tensor
    continues: Tensor
    silences: Tensor
    min_lr: Tensor
    max_lr: Tensor
    eps: Tensor
    resets: Tensor
    reset_start: Tensor
    guard: Tensor
    compares_all: Tensor
    ignores: Tensor
    cuts: Tensor
    first_sets_best: Tensor


class BatchedState(NamedTuple):
    """State of n rules, tensors of shape (n,); `best` is the negated one where the mode is "max"."""

    learning_rate: Tensor
    initial_learning_rate: Tensor
    best: Tensor
    num_good: Tensor
    num_bad: Tensor
    cooldown_counter: Tensor
    warmup_counter: Tensor
    reset_counter: Tensor
    resets: Tensor
    ceiling: Tensor


def stack_parameters(rules: Sequence[GreedyLRParameters], device: str = "cpu") -> BatchedParameters:
    """Return the parameters of many rules as tensors."""

    def column(values: Sequence[float] | Sequence[int] | Sequence[bool], dtype: torch.dtype) -> Tensor:
        return torch.tensor(values, dtype=dtype, device=device)

    def floats(name: str) -> Tensor:
        return column([getattr(rule, name) for rule in rules], torch.float64)

    def counts(name: str) -> Tensor:
        return column([getattr(rule, name) or 0 for rule in rules], torch.int64)

    def flags(name: str, value: object) -> Tensor:
        return column([getattr(rule, name) == value for rule in rules], torch.bool)

    slopes = [_slopes(rule) for rule in rules]
    return BatchedParameters(
        sign=column([1.0 if rule.mode == "min" else -1.0 for rule in rules], torch.float64),
        factor=floats("factor"),
        raise_factor=floats("raise_factor"),
        patience=counts("patience"),
        slope_above_zero=column([above for above, _ in slopes], torch.float64),
        slope_below_zero=column([below for _, below in slopes], torch.float64),
        offset=column([rule.threshold if rule.threshold_mode == "abs" else 0.0 for rule in rules], torch.float64),
        cooldown=counts("cooldown"),
        warmup=counts("warmup"),
        continues=flags("stages", "continue"),
        silences=flags("stages", "silence"),
        min_lr=floats("min_lr"),
        max_lr=floats("max_lr"),
        eps=floats("eps"),
        resets=~flags("reset_start", None),
        reset_start=counts("reset_start"),
        # No excess is above an infinite guard.
        guard=column([math.inf if rule.guard is None else rule.guard for rule in rules], torch.float64),
        compares_all=flags("non_finite", "compare"),
        ignores=flags("non_finite", "ignore"),
        cuts=flags("non_finite", "cut"),
        first_sets_best=flags("first_loss", "sets_best"),
    )


def _slopes(rule: GreedyLRParameters) -> tuple[float, float]:
    """Return what the best is multiplied by where it is >= 0 and where it is < 0, after "max" was negated."""
    if rule.threshold_mode == "abs":
        return 1.0, 1.0
    stricter, laxer = 1.0 - rule.threshold, 1.0 + rule.threshold
    if rule.threshold_mode == "rel":
        return stricter, laxer
    return (stricter, stricter) if rule.mode == "min" else (laxer, laxer)


def initial_state(parameters: BatchedParameters, learning_rate: Tensor) -> BatchedState:
    """Return the states before the first loss; `learning_rate` (n,) is 1 where the bounds are relative."""
    rate = learning_rate.to(torch.float64)
    infinity = torch.full_like(rate, math.inf)
    zero = torch.zeros_like(parameters.patience)
    return BatchedState(rate, rate, infinity, zero, zero, zero, zero, parameters.reset_start, zero, infinity)


def next_state(
    parameters: BatchedParameters, state: BatchedState, loss: Tensor, may_increase: Tensor | bool = True
) -> BatchedState:
    """Return the states after one decision on the losses (n,); the mathematics is `greedylr.rule.next_state`'s.

    `may_increase` is a bool tensor (n,), or one for all.
    """
    loss = loss * parameters.sign
    finite = torch.isfinite(loss) | parameters.compares_all
    trips = finite & (loss - state.best > parameters.guard * state.best.abs())
    normal = finite & ~trips
    cooling = normal & (state.cooldown_counter > 0)
    warming = normal & ~cooling & (state.warmup_counter > 0)
    counted = _count(parameters, state, loss, normal=normal, cooling=cooling, warming=warming)
    bad_event = ~finite & ~parameters.ignores & ~parameters.cuts
    cut = ~finite & parameters.cuts
    num_good = counted.num_good.masked_fill(trips | bad_event | cut, 0)
    num_bad = (counted.num_bad + bad_event).masked_fill(trips | cut, 0)

    moves = (normal & ~((cooling | warming) & ~parameters.silences)) | bad_event
    raise_due = moves & (num_good > parameters.patience)
    raises = raise_due & may_increase
    lowers = (moves & ~raise_due & (num_bad > parameters.patience)) | cut
    counted = counted._replace(
        num_good=num_good.masked_fill(raise_due, 0),
        num_bad=num_bad.masked_fill(lowers, 0),
        warmup_counter=torch.where(raises, parameters.warmup, counted.warmup_counter).masked_fill(cut, 0),
        cooldown_counter=torch.where(lowers, parameters.cooldown, counted.cooldown_counter),
    )
    repeats_raise = warming & parameters.continues & may_increase
    repeats_lowering = cooling & parameters.continues
    return _changed(parameters, counted, raises | repeats_raise, lowers, repeats_lowering, trips)


def _count(
    parameters: BatchedParameters,
    state: BatchedState,
    loss: Tensor,
    *,
    normal: Tensor,
    cooling: Tensor,
    warming: Tensor,
) -> BatchedState:
    """Return the states with the loss counted as good or bad, and the stages one decision shorter."""
    in_stage = cooling | warming
    slope = torch.where(state.best < 0, parameters.slope_below_zero, parameters.slope_above_zero)
    better = loss < state.best * slope - parameters.offset
    counts = normal & (~in_stage | parameters.silences)
    first = counts & parameters.first_sets_best & torch.isposinf(state.best) & ~torch.isnan(loss)
    good = counts & ~first & better
    bad = counts & ~first & ~better
    keeps_best_only = in_stage & parameters.continues & better
    silent = in_stage & ~parameters.silences
    return state._replace(
        best=torch.where(first | good | keeps_best_only, loss, state.best),
        num_good=(state.num_good + good).masked_fill(bad | silent | cooling, 0),
        num_bad=(state.num_bad + bad).masked_fill(good | silent | warming, 0),
        cooldown_counter=state.cooldown_counter - cooling.long(),
        warmup_counter=state.warmup_counter - warming.long(),
    )


def _changed(
    parameters: BatchedParameters,
    state: BatchedState,
    up: Tensor,
    lowers: Tensor,
    repeats_lowering: Tensor,
    trips: Tensor,
) -> BatchedState:
    """Return the states with the rates raised, lowered, reset or cut by the guard."""
    old = state.learning_rate
    higher = torch.minimum(torch.minimum(old / parameters.raise_factor, parameters.max_lr), state.ceiling)
    lower = torch.maximum(old * parameters.factor, parameters.min_lr)
    guarded = torch.minimum(old, torch.maximum(old * GUARD_CUT, parameters.min_lr))
    down = lowers | repeats_lowering
    rate = torch.where(up & (higher - old > parameters.eps), higher, old)
    rate = torch.where(down & (old - lower > parameters.eps), lower, rate)
    rate = torch.where(trips, guarded, rate)

    at_floor = down & parameters.resets & ~(rate > parameters.min_lr)
    resets = at_floor & ~(state.reset_counter > 1)
    counter = torch.where(up | resets, parameters.reset_start, state.reset_counter - (at_floor & ~resets).long())
    # A lowering that resets still starts its cooldown; one that a stage repeats starts none.
    silent = resets & ~lowers
    return BatchedState(
        learning_rate=torch.where(resets, torch.minimum(state.initial_learning_rate, state.ceiling), rate),
        initial_learning_rate=state.initial_learning_rate,
        best=state.best.masked_fill(resets, math.inf),
        num_good=state.num_good.masked_fill(resets, 0),
        num_bad=state.num_bad.masked_fill(resets, 0),
        cooldown_counter=state.cooldown_counter.masked_fill(silent, 0),
        warmup_counter=state.warmup_counter.masked_fill(resets, 0),
        reset_counter=counter,
        resets=state.resets + resets,
        ceiling=torch.where(trips, rate, state.ceiling),
    )
