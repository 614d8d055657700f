"""`GreedyLRParameters.like_transformers` against `transformers.GreedyLR` itself: the same rates, bit for bit."""

import inspect
import math
import random
from typing import Any

import pytest
import torch

from greedylr import GreedyLR, GreedyLRParameters

optimization = pytest.importorskip("transformers.optimization", reason="transformers is not installed")
if not hasattr(optimization, "GreedyLR"):
    pytest.skip("transformers has GreedyLR from 5.4.0 on; this one is older", allow_module_level=True)

STEPS = 500


def random_parameters(generator: random.Random) -> dict[str, Any]:
    pick = generator.choice
    return {
        "mode": pick(["min", "max"]),
        "factor": pick([0.3, 0.5, 0.9, 0.95, 0.99]),
        "patience": pick([0, 1, 2, 5, 10]),
        "threshold": pick([0.0, 1e-6, 1e-3, 0.1]),
        "threshold_mode": pick(["abs", "rel"]),
        "cooldown": pick([0, 0, 1, 5]),
        "warmup": pick([0, 0, 1, 5]),
        "min_lr": pick([0.0, 1e-3, 1e-2, 0.09]),
        "max_lr": pick([0.11, 1.0, 10.0]),
        "eps": pick([0.0, 1e-8, 1e-3]),
        "smooth": pick([False, True]),
        "window_size": pick([1, 2, 7, 50]),
        "reset_start": pick([0, 1, 2, 5, 500]),
    }


def random_losses(generator: random.Random) -> list[float]:
    floor, fall, noise = (
        generator.choice([0.0, 1.0, -3.0]),
        generator.uniform(-1, 4),
        generator.choice([0.0, 0.05, 1.0]),
    )
    losses = [floor + fall * math.exp(-step / 60) + noise * generator.gauss(0, 1) for step in range(STEPS)]
    if generator.random() < 0.3:
        # Few values, so that losses tie with the best and with the threshold.
        losses = [round(loss * 4) / 4 for loss in losses]
    if generator.random() < 0.25:
        for step in generator.sample(range(STEPS), 4):
            losses[step] = generator.choice([math.nan, math.inf, -math.inf, 1e20])
    return losses


def optimizer_with(rates: list[float]) -> torch.optim.Optimizer:
    groups = [{"params": [torch.nn.Parameter(torch.zeros(1))], "lr": rate} for rate in rates]
    return torch.optim.SGD(groups)


def assert_same_rates(
    parameters: dict[str, Any], starts: list[float], losses: list[float], **bounds: list[float]
) -> int:
    ours, theirs = optimizer_with(starts), optimizer_with(starts)
    our_scheduler = GreedyLR(ours, GreedyLRParameters.like_transformers(**parameters), **bounds)  # type: ignore[arg-type]
    their_scheduler = optimization.GreedyLR(theirs, **(parameters | bounds))
    changes, previous = 0, starts
    for step, loss in enumerate(losses):
        our_scheduler.step(loss)
        their_scheduler.step(loss)
        rates = [group["lr"] for group in theirs.param_groups]
        assert our_scheduler.get_last_lr() == rates, f"{parameters} with {starts}: step {step}"
        changes += rates != previous
        previous = rates
    return changes


def test_rates_equal_those_of_transformers_on_random_parameters_and_losses() -> None:
    generator = random.Random(20)
    moved = 0
    for _ in range(1000):
        moved += assert_same_rates(random_parameters(generator), [0.1], random_losses(generator)) > 0
    # The comparison is worth something only where the rates move.
    assert moved > 700


def test_rates_of_several_groups_equal_those_of_transformers_resets_included() -> None:
    generator = random.Random(21)
    for _ in range(150):
        starts = [generator.choice([1e-4, 0.02, 0.1, 0.5, 20.0]) for _ in range(generator.choice([2, 3]))]
        parameters = random_parameters(generator) | {"reset_start": generator.choice([0, 1, 2, 5])}
        assert_same_rates(parameters, starts, random_losses(generator))


def test_rates_of_groups_with_bounds_of_their_own_equal_those_of_transformers() -> None:
    generator = random.Random(23)
    for _ in range(100):
        starts = [generator.choice([1e-4, 0.02, 0.1, 0.5]) for _ in range(3)]
        lower = [generator.choice([0.0, 1e-3, 0.05]) for _ in starts]
        upper = [generator.choice([0.06, 1.0, 10.0]) for _ in starts]
        parameters = random_parameters(generator) | {"reset_start": generator.choice([0, 1, 2, 5])}
        assert_same_rates(parameters, starts, random_losses(generator), min_lr=lower, max_lr=upper)


def test_scheduler_that_starts_outside_its_bounds_equals_transformers() -> None:
    generator = random.Random(22)
    for start in (5e-5, 1e-3, 1.0, 7.0):
        for _ in range(20):
            assert_same_rates(random_parameters(generator), [start], random_losses(generator))


def test_defaults_are_those_of_transformers() -> None:
    ours = inspect.signature(GreedyLRParameters.like_transformers).parameters
    theirs = inspect.signature(optimization.GreedyLR.__init__).parameters
    assert {name: parameter.default for name, parameter in ours.items()} == {
        name: parameter.default for name, parameter in theirs.items() if name not in ("self", "optimizer", "verbose")
    }
