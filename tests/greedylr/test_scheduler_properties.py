"""What holds for every schedule and every loss."""

import io
import math
from dataclasses import replace
from typing import Any

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from greedylr import Envelope, GreedyLR, GreedyLRParameters, RelativeRule, Schedule, initial_state, next_state
from greedylr.running_rule import RunningRule

TOTAL_STEPS = 60
LOSSES = st.lists(st.floats(-10, 10) | st.sampled_from([math.nan, math.inf, -math.inf, 1e300]), max_size=TOTAL_STEPS)
RULES = st.builds(
    GreedyLRParameters,
    factor=st.sampled_from([0.3, 0.5, 0.9]),
    increase_factor=st.sampled_from([None, 0.7, 1.0]),
    patience=st.integers(0, 3),
    threshold=st.sampled_from([0.0, 1e-3, 0.5]),
    threshold_mode=st.sampled_from(["abs", "rel", "rel_signed"]),
    mode=st.sampled_from(["min", "max"]),
    cooldown=st.integers(0, 2),
    warmup=st.integers(0, 2),
    stages=st.sampled_from(["hold", "continue", "silence"]),
    min_lr=st.sampled_from([0.05, 0.5]),
    max_lr=st.sampled_from([1.0, 4.0]),
    smooth=st.booleans(),
    window_size=st.integers(1, 9),
    reset_start=st.sampled_from([None, 1, 3]),
    guard=st.sampled_from([None, 0.0, 0.3]),
    non_finite=st.sampled_from(["bad", "cut", "ignore", "compare"]),
)


def sgd(*rates: float) -> torch.optim.Optimizer:
    return torch.optim.SGD([{"params": [torch.nn.Parameter(torch.zeros(1))], "lr": rate} for rate in rates])


def saved_and_loaded(state: dict[str, Any]) -> dict[str, Any]:
    file = io.BytesIO()
    torch.save(state, file)
    file.seek(0)
    loaded: dict[str, Any] = torch.load(file, weights_only=True)
    return loaded


@settings(deadline=None)
@given(rule=RULES, losses=LOSSES, explore=st.none() | st.integers(0, 99), own=st.booleans())
def test_rate_never_leaves_its_bounds(
    rule: GreedyLRParameters, losses: list[float], explore: int | None, own: bool
) -> None:
    schedule = Schedule(rule=rule).resolve(TOTAL_STEPS)
    limits = [(0.5, 2.0), (0.9, 1.0)] if own else [(rule.min_lr, rule.max_lr)] * 2
    bounds = {"min_lr": [0.5, 0.9], "max_lr": [2.0, 1.0]} if own else {}
    scheduler = GreedyLR(sgd(0.1, 0.4), schedule, explore=explore, **bounds)
    for loss in losses:
        scheduler.step(loss)
        for rate, start, (lower, upper) in zip(scheduler.get_last_lr(), (0.1, 0.4), limits, strict=True):
            assert lower * start * (1 - 1e-12) <= rate <= upper * start * (1 + 1e-12)


@settings(deadline=None)
@given(
    rule=RULES,
    losses=st.lists(st.floats(-10, 10).map(lambda loss: round(loss, 3)) | st.just(math.nan), max_size=TOTAL_STEPS),
    power=st.integers(-20, 20),
)
def test_scaling_the_loss_changes_nothing_in_relative_mode(
    rule: GreedyLRParameters, losses: list[float], power: int
) -> None:
    # By a power of two, so that no digit is lost: what is left to differ is the rule.
    rule = replace(rule, threshold_mode="rel", threshold=1e-3)
    plain, scaled = GreedyLR(sgd(0.1), rule), GreedyLR(sgd(0.1), rule)
    for loss in losses:
        plain.step(loss)
        scaled.step(loss * 2.0**power)
        assert scaled.get_last_lr() == plain.get_last_lr()


@settings(deadline=None)
@given(
    rule=RULES,
    losses=LOSSES,
    explore=st.none() | st.integers(0, 99),
    own=st.booleans(),
    ramp=st.sampled_from([0.0, 0.1]),
    grows=st.booleans(),
    data=st.data(),
)
def test_state_round_trips_at_any_step(
    rule: GreedyLRParameters,
    losses: list[float],
    explore: int | None,
    own: bool,
    ramp: float,
    grows: bool,
    data: st.DataObject,
) -> None:
    schedule = Schedule(envelope=Envelope(shape="final_anneal", ramp=ramp), rule=rule).resolve(TOTAL_STEPS)
    bounds = {"min_lr": [0.5, 0.9], "max_lr": [2.0, 1.0]} if own else {}
    optimizer = sgd(0.1, 0.4)
    through = GreedyLR(optimizer, schedule, explore=explore, **bounds)
    stop = data.draw(st.integers(0, len(losses)))
    for loss in losses[:stop]:
        through.step(loss)
    if grows:
        optimizer.add_param_group({"params": [torch.nn.Parameter(torch.zeros(1))], "lr": 0.2})
        through.step(math.nan if rule.non_finite != "compare" else 1.0)
    # Whatever was asked of the new scheduler, the state decides.
    resumed = GreedyLR(sgd(*[0.7] * (2 + grows)), schedule, explore=7)
    resumed.load_state_dict(saved_and_loaded(through.state_dict()))
    assert repr(resumed.state_dict()) == repr(through.state_dict())
    for loss in losses[stop:]:
        through.step(loss)
        resumed.step(loss)
        assert resumed.get_last_lr() == through.get_last_lr()
    assert repr(resumed.state_dict()) == repr(through.state_dict())


@settings(deadline=None)
@given(rule=RULES, losses=st.lists(st.floats(-10, 10), max_size=40))
def test_counting_in_place_equals_the_rule(rule: GreedyLRParameters, losses: list[float]) -> None:
    state = initial_state(rule)
    running = RunningRule(rule, state)
    for loss in losses:
        state = next_state(rule, state, loss)
        if not running.counts(loss):
            running.state = next_state(rule, running.state, loss)
        assert running.state == state


@settings(deadline=None)
@given(
    rule=st.builds(
        RelativeRule,
        factor=st.just(0.7),
        interval=st.sampled_from([0.0, 0.05]),
        window=st.sampled_from([0.0, 0.1]),
        increase_until=st.sampled_from([0.4, 1.0]),
        guard=st.sampled_from([None, 0.3]),
        non_finite=st.sampled_from(["bad", "cut", "ignore", "compare"]),
    ),
    shape=st.sampled_from(["constant", "final_anneal", "cosine"]),
    losses=LOSSES,
)
def test_each_way_of_taking_a_loss_gives_the_same_rates(rule: RelativeRule, shape: Any, losses: list[float]) -> None:
    """In one piece, as time and then loss, and with a listener."""
    schedule = Schedule(envelope=Envelope(shape=shape, ramp=0.1), rule=rule).resolve(TOTAL_STEPS)
    told: list[Any] = []
    plain, listened = GreedyLR(sgd(0.1), schedule), GreedyLR(sgd(0.1), schedule, on_decision=told.append)
    apart = GreedyLR(sgd(0.1), schedule)
    for loss in losses:
        plain.step(loss)
        listened.step(loss)
        apart.controller.advance()
        apart.controller.take(loss)
        assert (plain.get_last_lr()[0],) == listened.controller.learning_rates == apart.controller.learning_rates
    assert repr(plain.state_dict()) == repr(listened.state_dict()) == repr(apart.state_dict())
