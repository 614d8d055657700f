import math
from itertools import pairwise

import pytest
import torch

from greedylr import CONTROLS, Decision, GreedyLR, GreedyLRParameters, Schedule
from greedylr.exploration import Exploration, Moment

# The plan of one seed for a run of 1000 steps.
SEED = 7
PLAN = [(90, 1 / 3), (254, 3.0), (565, 1.0), (583, 3.0), (658, 3.0)]


def sgd(rate: float) -> torch.optim.Optimizer:
    return torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=rate)


def test_plan_has_three_to_five_moments_and_the_three_factors_alike_often() -> None:
    plans = [Exploration.planned(seed, 1000) for seed in range(600)]
    assert {len(plan.moments) for plan in plans} == {3, 4, 5}
    factors = [moment.factor for plan in plans for moment in plan.moments]
    for factor in (1 / 3, 1.0, 3.0):
        assert factors.count(factor) / len(factors) == pytest.approx(1 / 3, abs=0.05)
    assert all(0 < one.step < other.step < 1000 for plan in plans for one, other in pairwise(plan.moments))


def test_same_seed_gives_the_same_plan_on_every_machine() -> None:
    assert [(moment.step, moment.factor) for moment in Exploration.planned(SEED, 1000).moments] == PLAN
    assert Exploration.planned(SEED + 1, 1000) != Exploration.planned(SEED, 1000)


def test_factors_multiply_the_rate_from_their_moments_on_and_are_told_with_their_probability() -> None:
    told: list[Decision] = []
    scheduler = GreedyLR(sgd(0.5), CONTROLS["constant"].resolve(1000), explore=SEED, on_change=told.append)
    rates = [scheduler.get_last_lr()[0]]
    for _ in range(999):
        scheduler.step(1.0)
        rates.append(scheduler.get_last_lr()[0])
    plan = Exploration.planned(SEED, 1000)
    assert rates == [0.5 * plan.factor_at(step) for step in range(1000)]
    assert [(one.step, one.kind, one.factor, one.probability, one.loss) for one in told] == [
        (step, "explore", factor, 1 / 3, None) for step, factor in PLAN
    ]
    assert all(one.new_rates == (0.5 * (one.factor or math.nan),) for one in told)


def test_bounds_hold_for_the_product() -> None:
    rule = GreedyLRParameters(min_lr=0.9, max_lr=1.5)
    scheduler = GreedyLR(sgd(1.0), Schedule(rule=rule).resolve(1000), explore=SEED)
    rates = set()
    for _ in range(999):
        scheduler.step(1.0)
        rates.add(scheduler.get_last_lr()[0])
    assert max(rates) <= 1.5
    assert min(rates) >= 0.9


@pytest.mark.parametrize("seed", [-1, 0.5, "3", True])
def test_seed_that_is_none_is_refused(seed: object) -> None:
    with pytest.raises(ValueError, match="explore must be an integer >= 0"):
        GreedyLR(sgd(1.0), CONTROLS["constant"].resolve(1000), explore=seed)  # type: ignore[arg-type]


def test_run_without_a_length_or_with_too_few_evaluations_cannot_explore() -> None:
    with pytest.raises(ValueError, match="explore needs to know how long the run is"):
        GreedyLR(sgd(1.0), explore=1)
    with pytest.raises(ValueError, match="explore needs more than 5 evaluations in the run, got 5"):
        GreedyLR(sgd(1.0), CONTROLS["constant"].resolve(50, steps_per_evaluation=10), explore=1)


def test_plan_that_was_not_drawn_here_is_refused() -> None:
    with pytest.raises(ValueError, match="a moment of exploration has a factor of"):
        Moment(3, 7.0)
    with pytest.raises(ValueError, match="must be in order"):
        Exploration((Moment(3, 1.0), Moment(2, 1.0)))
