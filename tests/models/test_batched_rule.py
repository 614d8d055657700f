import math
import random
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from greedylr.rule import GreedyLRParameters, GreedyLRState, initial_state, next_state
from models import batched_rule

STEPS = 120


def random_rule(generator: random.Random) -> GreedyLRParameters:
    pick = generator.choice
    return GreedyLRParameters(
        mode=pick(["min", "max"]),
        factor=pick([0.3, 0.5, 0.95, 1.0]),
        increase_factor=pick([None, 0.7, 1.0]),
        patience=pick([0, 0, 1, 3]),
        threshold=pick([0.0, 1e-6, 0.05, 1.0]),
        threshold_mode=pick(["abs", "rel", "rel_signed"]),
        cooldown=pick([0, 1, 4]),
        warmup=pick([0, 1, 4]),
        stages=pick(["hold", "continue", "silence"]),
        min_lr=pick([0.0, 1e-2, 0.3, 2.0]),
        max_lr=pick([2.0, 10.0]),
        eps=pick([0.0, 1e-8, 0.2]),
        reset_start=pick([None, 0, 1, 3]),
        guard=pick([None, None, 0.0, 0.3, 2.0]),
        non_finite=pick(["bad", "cut", "ignore", "compare"]),
        first_loss=pick(["sets_best", "good"]),
    )


def random_losses(generator: random.Random) -> list[float]:
    centre, fall, noise = (
        generator.choice([0.0, 2.0, -2.0]),
        generator.uniform(-1, 3),
        generator.choice([0.0, 0.1, 2.0]),
    )
    losses = [centre + fall * math.exp(-step / 30) + noise * generator.gauss(0, 1) for step in range(STEPS)]
    if generator.random() < 0.3:
        for step in generator.sample(range(STEPS), 6):
            losses[step] = generator.choice([math.nan, math.inf, -math.inf, 0.0, -0.0, 1e308])
    if generator.random() < 0.2:
        losses = [losses[0]] * STEPS
    return losses


def as_tensors(arrays: Any) -> Any:
    """As they are on an accelerator."""
    if isinstance(arrays, tuple):
        values = map(as_tensors, arrays)
        return arrays._make(values) if hasattr(arrays, "_make") else tuple(values)
    return None if arrays is None else torch.from_numpy(arrays)


def as_rows(parameters: batched_rule.BatchedParameters, state: batched_rule.BatchedState) -> list[tuple[float, ...]]:
    columns = state._replace(best=batched_rule.signed(parameters, state.best))
    return list(zip(*(column.tolist() for column in columns), strict=True))


def equal_or_both_nan(one: float, other: float) -> bool:
    return one == other or (math.isnan(one) and math.isnan(other))


@pytest.mark.parametrize("kind", ["arrays", "tensors"])
@pytest.mark.parametrize("seed", range(2))
def test_batched_rule_equals_scalar_rule_on_random_rules_and_losses(seed: int, kind: str) -> None:
    generator = random.Random(seed)
    rules = [random_rule(generator) for _ in range(400)]
    if seed:
        # Rules without any of these are reckoned without them.
        rules = [replace(rule, cooldown=0, warmup=0, reset_start=None, guard=None) for rule in rules]
    losses = [random_losses(generator) for _ in rules]
    starts = [generator.choice([1.0, 0.1, 5.0]) for _ in rules]
    states = [initial_state(rule, start) for rule, start in zip(rules, starts, strict=True)]
    parameters = batched_rule.stack_parameters(rules)
    batched = batched_rule.initial_state(parameters, np.array(starts))
    if kind == "tensors":
        parameters, batched = as_tensors(parameters), as_tensors(batched)
    for step in range(STEPS):
        may = [generator.random() < 0.8 for _ in rules]
        states = [
            next_state(rule, state, series[step], may_increase=may_rise)
            for rule, state, series, may_rise in zip(rules, states, losses, may, strict=True)
        ]
        loss: Any = np.array([series[step] for series in losses])
        allowed: Any = np.array(may)
        if kind == "tensors":
            loss, allowed = torch.from_numpy(loss), torch.from_numpy(allowed)
        batched = batched_rule.next_state(parameters, batched, loss, allowed)
        for rule, expected, actual in zip(rules, states, as_rows(parameters, batched), strict=True):
            assert all(map(equal_or_both_nan, expected, actual)), (rule, expected, GreedyLRState._make(actual))


def rates_of(rule: GreedyLRParameters, losses: list[float]) -> list[float]:
    parameters = batched_rule.stack_parameters([rule])
    state = batched_rule.initial_state(parameters, np.ones(1))
    rates = []
    for loss in losses:
        state = batched_rule.next_state(parameters, state, np.array([loss]))
        rates.append(state.learning_rate.item())
    return rates


def test_rate_doubles_at_each_better_loss_and_halves_at_each_worse_one() -> None:
    rule = GreedyLRParameters(factor=0.5, patience=0)
    assert rates_of(rule, [4.0, 3.0, 2.0, 5.0, 6.0, 1.0]) == [1.0, 2.0, 4.0, 2.0, 1.0, 2.0]


def test_rate_holds_during_cooldown() -> None:
    rule = GreedyLRParameters(factor=0.5, patience=0, cooldown=2)
    assert rates_of(rule, [4.0, 5.0, 1.0, 1.0, 1.0]) == [1.0, 0.5, 0.5, 0.5, 1.0]


def test_rate_returns_to_its_start_after_the_given_number_of_lowerings_at_the_floor() -> None:
    rule = GreedyLRParameters(factor=0.5, patience=0, min_lr=0.5, reset_start=2)
    assert rates_of(rule, [1.0, 1.0, 1.0, 1.0]) == [1.0, 0.5, 1.0, 1.0]


def test_guard_halves_the_rate_and_caps_it_there() -> None:
    rule = GreedyLRParameters(factor=0.5, patience=0, guard=0.3)
    assert rates_of(rule, [1.0, 1.31, 0.9, 0.8]) == [1.0, 0.5, 0.5, 0.5]


def test_rules_of_replicas_do_not_touch_each_other() -> None:
    rule = GreedyLRParameters(factor=0.5, patience=0)
    parameters = batched_rule.stack_parameters([rule, replace(rule, non_finite="compare"), rule])
    state = batched_rule.initial_state(parameters, np.ones(3))
    for losses in ([4.0, math.nan, 4.0], [3.0, math.nan, 5.0]):
        state = batched_rule.next_state(parameters, state, np.array(losses))
    assert state.learning_rate.tolist() == [2.0, 0.25, 0.5]


def test_replica_that_does_not_decide_stays_as_it_is() -> None:
    rule = GreedyLRParameters(factor=0.5, patience=0, cooldown=1, guard=0.3, reset_start=1)
    parameters = batched_rule.stack_parameters([rule, rule])
    state = batched_rule.initial_state(parameters, np.ones(2))
    for loss in (4.0, 3.0, 9.0, math.nan, 2.0):
        state = batched_rule.next_state(parameters, state, np.array([loss, loss]), None, np.array([True, False]))
    assert GreedyLRState(*(column[1] for column in state)) == initial_state(rule)
    assert state.learning_rate[0] != 1.0
