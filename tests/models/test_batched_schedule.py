import math
import random
from dataclasses import replace
from typing import Any

import pytest
import torch

from greedylr.probe import Probe
from greedylr.rate_controller import RateController
from greedylr.rollback import Rollback
from greedylr.rule import GreedyLRParameters
from greedylr.schedules import CONTROLS, Envelope, RelativeRule, ResolvedSchedule, Schedule
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


def test_batched_controller_equals_scalar_controller_on_random_schedules_and_losses() -> None:
    generator = random.Random(1)
    schedules = [random_schedule(generator) for _ in range(150)]
    starts = [10 ** generator.uniform(-4, 1) for _ in schedules]
    losses = [random_losses(generator) for _ in schedules]
    scalars = [RateController(schedule, [start]) for schedule, start in zip(schedules, starts, strict=True)]
    batched = BatchedRateController(schedules, starts)
    for step in range(TOTAL_STEPS):
        assert batched.learning_rates.tolist() == [scalar.learning_rates[0] for scalar in scalars]
        batched.observe(torch.tensor([series[step] for series in losses], dtype=torch.float64))
        for scalar, series in zip(scalars, losses, strict=True):
            scalar.observe(series[step])
    assert batched.learning_rates.tolist() == [scalar.learning_rates[0] for scalar in scalars]


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


def test_restarted_controller_gives_the_same_rates_again() -> None:
    batched = BatchedRateController([CONTROLS["plateau"].resolve(TOTAL_STEPS)], [0.1])

    def rates() -> list[float]:
        result = []
        for step in range(TOTAL_STEPS):
            result.append(batched.learning_rates.item())
            batched.observe(torch.tensor([1.0 if step < 50 else 2.0]))
        return result

    first = rates()
    batched.restart()
    assert rates() == first
    assert first[-1] < first[0]


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


def test_schedule_that_restores_weights_is_refused() -> None:
    rule = RelativeRule(factor=0.7)
    for extras, named in (
        ({"probe": Probe(share=0.1)}, "a probe"),
        ({"rollback": Rollback()}, "a rollback"),
        ({"probe": Probe(share=0.1), "rollback": Rollback()}, "a probe and a rollback"),
    ):
        schedule = Schedule(rule=rule, **extras).resolve(TOTAL_STEPS)  # type: ignore[arg-type]
        with pytest.raises(ValueError, match=f"must restore no weights, got one with {named}; train with it by"):
            BatchedRateController([schedule], [0.1])


def test_schedule_that_is_evaluated_more_rarely_than_each_step_is_refused() -> None:
    with pytest.raises(ValueError, match="steps_per_evaluation must be 1, got 5"):
        BatchedRateController([Schedule().resolve(10, steps_per_evaluation=5)], [0.1])
