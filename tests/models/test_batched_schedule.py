import math
import random
from collections import Counter
from dataclasses import replace
from typing import Any

import pytest
import torch

from greedylr.probe import Probe
from greedylr.rate_controller import RateController
from greedylr.rollback import Rollback
from greedylr.rule import GreedyLRParameters
from greedylr.schedules import CONTROLS, Envelope, RelativeRule, ResolvedSchedule, Schedule
from models import device_arrays
from models.batched_schedule import BatchedRateController

TOTAL_STEPS = 200


def random_schedule(generator: random.Random) -> ResolvedSchedule:
    pick = generator.choice
    rule = pick(
        [
            RelativeRule(
                factor=0.7,
                increase_factor=0.85,
                patience=pick([0.0, 0.05]),
                cooldown=pick([0.0, 0.05]),
                interval=pick([0.0, 0.025, 0.04]),
                window=pick([0.0, 0.08]),
                increase_until=pick([0.4, 1.0]),
                guard=pick([None, 0.3]),
                non_finite=pick(["bad", "cut", "ignore", "compare"]),
            ),
            GreedyLRParameters(factor=0.5, patience=2, smooth=True, window_size=7, reset_start=1, min_lr=0.1),
            replace(GreedyLRParameters.like_transformers(smooth=True), window_size=pick([3, 500]), reset_start=2),
            None,
        ]
    )
    shape: Any = pick(["constant", "final_anneal", "wsd", "cosine"])
    return Schedule(envelope=Envelope(shape=shape, ramp=pick([0.0, 0.05])), rule=rule).resolve(TOTAL_STEPS)


def random_losses(generator: random.Random) -> list[float]:
    noise = generator.choice([0.0, 0.3])
    centre = generator.choice([1.0, -3.0])
    return [centre + 3 * math.exp(-step / 50) + noise * generator.gauss(0, 1) for step in range(TOTAL_STEPS)]


@pytest.fixture(params=["arrays", "tensors"])
def kind(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """The controller as it is on the CPU, and as it is on an accelerator."""
    if request.param == "tensors":
        monkeypatch.setattr(device_arrays, "_is_host", lambda device: False)
    return str(request.param)


def as_tensor(losses: list[float]) -> torch.Tensor:
    return torch.tensor(losses, dtype=torch.float64)


def test_batched_controller_equals_scalar_controller_on_random_schedules_and_losses(kind: str) -> None:
    generator = random.Random(1)
    schedules = [random_schedule(generator) for _ in range(150)]
    starts = [10 ** generator.uniform(-4, 1) for _ in schedules]
    losses = [random_losses(generator) for _ in schedules]
    scalars = [RateController(schedule, [start]) for schedule, start in zip(schedules, starts, strict=True)]
    batched = BatchedRateController(schedules, starts)
    for step in range(TOTAL_STEPS):
        assert batched.learning_rates.tolist() == [scalar.learning_rates[0] for scalar in scalars]
        assert batched.observe(as_tensor([series[step] for series in losses])) is None
        for scalar, series in zip(scalars, losses, strict=True):
            scalar.observe(series[step])
    assert batched.learning_rates.tolist() == [scalar.learning_rates[0] for scalar in scalars]


def random_restoring_schedule(generator: random.Random) -> ResolvedSchedule:
    pick = generator.choice
    probe = Probe(share=pick([0.05, 0.1, 0.2]), turn=pick([0.2, 3.0]), back_off=pick([0.2, 1.0]))
    rollback = Rollback(guard=pick([0.0, 0.3]), limit=pick([1, 2, 50]))
    rule: Any = RelativeRule(
        factor=0.7,
        patience=pick([0.0, 0.05]),
        interval=pick([0.0, 0.025, 0.04]),
        window=pick([0.0, 0.01, 0.08]),
        increase_until=pick([0.4, 1.0]),
        non_finite=pick(["bad", "cut", "ignore", "compare"]),
    )
    if generator.random() < 0.3:
        rule = GreedyLRParameters(mode=pick(["min", "max"]), factor=0.5, patience=2, smooth=pick([True, False]))
    shape: Any = pick(["constant", "final_anneal", "wsd", "cosine"])
    extras: dict[str, Any] = pick([{"probe": probe}, {"rollback": rollback}, {"probe": probe, "rollback": rollback}])
    if "rollback" not in extras:
        rule = pick([rule, None])
    return Schedule(envelope=Envelope(shape=shape, ramp=pick([0.0, 0.05])), rule=rule, **extras).resolve(TOTAL_STEPS)


def random_losses_with_accidents(generator: random.Random) -> list[float]:
    losses = random_losses(generator)
    for step in generator.sample(range(TOTAL_STEPS), generator.choice([0, 2, 20])):
        losses[step] = generator.choice([math.nan, math.inf, -math.inf, 100.0])
    return losses


def test_batched_controller_keeps_and_restores_when_the_scalar_one_does(kind: str) -> None:
    generator = random.Random(2)
    schedules = [random_restoring_schedule(generator) for _ in range(150)]
    starts = [10 ** generator.uniform(-4, 1) for _ in schedules]
    losses = [random_losses_with_accidents(generator) for _ in schedules]
    scalars = [RateController(schedule, [start]) for schedule, start in zip(schedules, starts, strict=True)]
    batched = BatchedRateController(schedules, starts)
    seen: Counter[str | None] = Counter()
    for step in range(TOTAL_STEPS):
        assert batched.learning_rates.tolist() == [scalar.learning_rates[0] for scalar in scalars]
        # A replica that cannot be restored does not live on after a loss that is not finite.
        now = [
            series[step] if scalar.may_restore or math.isfinite(series[step]) else 100.0
            for scalar, series in zip(scalars, losses, strict=True)
        ]
        restoration = batched.observe(as_tensor(now))
        for scalar, loss in zip(scalars, now, strict=True):
            scalar.observe(loss)
        events = [scalar.take_event() for scalar in scalars]
        seen.update(events)
        none = [False] * len(scalars)
        keep, restore = (none, none) if restoration is None else (flags.tolist() for flags in restoration)
        assert keep == [event == "new_best" for event in events]
        assert restore == [event in ("probe", "rollback") for event in events]
        assert batched.may_restore.tolist() == [scalar.may_restore for scalar in scalars]
    assert set(seen) == {None, "new_best", "probe", "rollback", "give_up"}
    assert len({scalar.swept_steps for scalar in scalars}) > 5


@pytest.mark.parametrize(
    ("rollback", "steps"),
    # Decisions after steps 2, 4, 6 and 8; a final anneal without decisions begins there.
    [(None, []), (Rollback(limit=1), [0, 1, 2, 3, 4, 5, 6, 7])],
)
def test_replica_may_be_restored_until_its_last_decision(rollback: Rollback | None, steps: list[int]) -> None:
    rule = RelativeRule(factor=0.5, interval=0.2, window=0.0)
    schedule = Schedule(envelope=Envelope(shape="final_anneal"), rule=rule, rollback=rollback).resolve(10)
    batched, restorable = BatchedRateController([schedule], [0.1]), []
    for step in range(10):
        if batched.may_restore.item():
            restorable.append(step)
        batched.observe(as_tensor([1.0]))
    assert restorable == steps


def test_replica_whose_loss_is_not_finite_touches_no_other() -> None:
    schedule = CONTROLS["greedy_smooth50_cosine"].resolve(TOTAL_STEPS)
    alone, beside = BatchedRateController([schedule], [0.1]), BatchedRateController([schedule] * 2, [0.1, 0.1])
    for step in range(TOTAL_STEPS):
        loss = 1 / (1 + step)
        assert beside.learning_rates[0] == alone.learning_rates[0]
        alone.observe(torch.tensor([loss]))
        beside.observe(torch.tensor([loss, math.nan if step > 20 else loss]))


def test_mean_recovers_from_one_huge_loss_as_the_scalar_one_does() -> None:
    rule = GreedyLRParameters(factor=0.5, patience=0, smooth=True, window_size=5)
    schedule = Schedule(rule=rule).resolve(TOTAL_STEPS)
    scalar, batched = RateController(schedule, [0.1]), BatchedRateController([schedule], [0.1])
    for step in range(TOTAL_STEPS):
        loss = 1e30 if step == 20 else 1.0 + 1 / (1 + step)
        scalar.observe(loss)
        batched.observe(torch.tensor([loss], dtype=torch.float64))
        assert batched.learning_rates.tolist() == list(scalar.learning_rates)


def test_control_without_a_rule_follows_its_envelope() -> None:
    batched = BatchedRateController([CONTROLS["linear"].resolve(4)], [0.8])
    rates = []
    for _ in range(4):
        rates.append(batched.learning_rates.item())
        batched.observe(torch.tensor([1.0]))
    assert rates == pytest.approx([0.8, 0.6, 0.4, 0.2])


def test_schedules_of_different_lengths_are_refused() -> None:
    with pytest.raises(ValueError, match="one total_steps"):
        BatchedRateController([Schedule().resolve(10), Schedule().resolve(20)], [0.1, 0.1])


def test_schedule_that_is_evaluated_more_rarely_than_each_step_is_refused() -> None:
    with pytest.raises(ValueError, match="steps_per_evaluation must be 1, got 5"):
        BatchedRateController([Schedule().resolve(10, steps_per_evaluation=5)], [0.1])
