import math

import pytest
import torch

from greedylr import CONTROLS, Decision, GreedyLR, GreedyLRParameters


def sgd(rate: float) -> torch.optim.Optimizer:
    return torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=rate)


def test_each_change_of_the_rate_is_told_with_what_the_rule_saw_and_did() -> None:
    told: list[Decision] = []
    parameters = GreedyLRParameters(
        factor=0.5, patience=0, min_lr=0.125, max_lr=8.0, reset_start=1, guard=0.5, non_finite="cut"
    )
    scheduler = GreedyLR(sgd(1.0), parameters, on_change=told.append)
    for loss in (4.0, 3.0, 3.0, 9.0, math.nan, 3.0):
        scheduler.step(loss)
    assert [(one.step, one.kind, one.old_rates, one.new_rates) for one in told] == [
        (2, "raise", (1.0,), (2.0,)),
        (3, "lower", (2.0,), (1.0,)),
        (4, "cut", (1.0,), (0.5,)),
        (5, "cut", (0.5,), (0.25,)),
        (6, "reset", (0.25,), (0.5,)),
    ]
    assert [one.loss for one in told[:3]] == [3.0, 3.0, 9.0]
    assert told[0].factor is None


def test_decisions_that_hold_the_rate_are_told_to_those_who_ask_for_all() -> None:
    changes: list[Decision] = []
    decisions: list[Decision] = []
    parameters = GreedyLRParameters(factor=0.5, patience=1, smooth=True, window_size=2)
    scheduler = GreedyLR(sgd(1.0), parameters, on_change=changes.append, on_decision=decisions.append)
    for loss in (4.0, 3.0, 2.0):
        scheduler.step(loss)
    assert [(one.kind, one.loss) for one in decisions] == [("hold", 4.0), ("hold", 3.5), ("raise", 2.5)]
    assert changes == decisions[2:]


def test_listener_may_come_later_and_go() -> None:
    told: list[Decision] = []
    scheduler = GreedyLR(sgd(1.0), GreedyLRParameters(factor=0.5, patience=0))
    for loss in (4.0, 3.0):
        scheduler.step(loss)
    scheduler.on_change = told.append
    scheduler.step(2.0)
    scheduler.on_change = None
    scheduler.step(1.0)
    assert [one.step for one in told] == [3]


def test_schedule_without_a_rule_decides_nothing() -> None:
    told: list[Decision] = []
    scheduler = GreedyLR(sgd(1.0), CONTROLS["cosine"].resolve(40), on_change=told.append, on_decision=told.append)
    for _ in range(40):
        scheduler.step(1.0)
    assert told == []


def test_decision_cannot_be_changed() -> None:
    decision = Decision(step=1, kind="hold", loss=1.0, old_rates=(0.1,), new_rates=(0.1,))
    with pytest.raises(AttributeError):
        decision.step = 2  # type: ignore[misc]
