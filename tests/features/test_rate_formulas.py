"""Each formula against the scheduler it is named after, run for real, and against literals where they are short."""

import math
from dataclasses import asdict
from typing import Any

import polars as pl
import pytest
import torch
from torch.optim import lr_scheduler

from features.rate_formulas import FORMULAS
from features.rate_rules import RateRule

STEPS = 60
RATE = 0.1


def formula(kind: str, steps: int = STEPS, **numbers: Any) -> list[float]:
    """The rates of a formula at t = 0, 1, 2 ..."""
    rule = asdict(RateRule(kind=kind, rate=RATE, reason="", **numbers))  # type: ignore[arg-type]
    frame = pl.DataFrame({"t": [float(t) for t in range(steps)], **{k: [v] * steps for k, v in rule.items()}})
    return frame.select(FORMULAS[kind]())[:, 0].to_list()


def real(build: Any, steps: int = STEPS) -> list[float]:
    """The rates with which a real optimizer trains under a scheduler."""
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=RATE)
    scheduler = build(optimizer)
    rates = []
    for _ in range(steps):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return rates


TORCH = {
    "torch_step": (
        {"step_size": 7.0, "gamma": 0.3},
        lambda optimizer: lr_scheduler.StepLR(optimizer, 7, 0.3),
    ),
    "torch_multi_step": (
        {"milestones": (5.0, 20.0, 21.0), "gamma": 0.2},
        lambda optimizer: lr_scheduler.MultiStepLR(optimizer, [5, 20, 21], 0.2),
    ),
    "torch_exponential": ({"gamma": 0.93}, lambda optimizer: lr_scheduler.ExponentialLR(optimizer, 0.93)),
    "torch_cosine": (
        {"total": 25.0, "low": 0.004},
        lambda optimizer: lr_scheduler.CosineAnnealingLR(optimizer, 25, 0.004),
    ),
    "torch_linear": (
        {"total": 40.0, "start_factor": 0.25, "end_factor": 0.75},
        lambda optimizer: lr_scheduler.LinearLR(optimizer, 0.25, 0.75, 40),
    ),
    "torch_polynomial": (
        {"total": 50.0, "power": 2.5},
        lambda optimizer: lr_scheduler.PolynomialLR(optimizer, 50, 2.5),
    ),
}


@pytest.mark.parametrize("kind", TORCH)
def test_a_torch_scheduler_gives_what_its_formula_gives(kind: str) -> None:
    numbers, build = TORCH[kind]
    assert formula(kind, **numbers) == pytest.approx(real(build), rel=1e-9)


@pytest.mark.parametrize(("linear", "share"), [(False, 0.25), (True, 0.25), (False, 0.3)])
def test_one_cycle_of_torch(linear: bool, share: float) -> None:
    def build(optimizer: torch.optim.Optimizer) -> lr_scheduler.LRScheduler:
        strategy = "linear" if linear else "cos"
        return lr_scheduler.OneCycleLR(
            optimizer, RATE, total_steps=41, pct_start=share, anneal_strategy=strategy, div_factor=10
        )

    found = formula("torch_one_cycle", 40, total=41.0, pct_start=share, div=10.0, linear_anneal=linear)
    assert found == pytest.approx(real(build, 40), rel=1e-9)


@pytest.mark.parametrize(("first", "multiple"), [(10, 1), (3, 2), (5, 3), (1, 2)])
def test_warm_restarts_of_torch(first: int, multiple: int) -> None:
    expected = real(lambda optimizer: lr_scheduler.CosineAnnealingWarmRestarts(optimizer, first, multiple, 0.001), 200)
    found = formula("torch_warm_restarts", 200, total=float(first), multiple=float(multiple), low=0.001)
    assert found == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("warmup", [0, 9])
@pytest.mark.parametrize(
    ("name", "numbers", "extra"),
    [
        ("linear", {}, {}),
        ("cosine", {"cycles": 0.5}, {}),
        ("cosine", {"cycles": 1.5}, {"num_cycles": 1.5}),
        ("cosine_with_restarts", {"cycles": 3.0}, {"num_cycles": 3}),
        ("polynomial", {"power": 1.0, "low": 1e-7}, {}),
        ("polynomial", {"power": 2.0, "low": 0.001}, {"power": 2.0, "lr_end": 0.001}),
        ("constant_with_warmup", {}, {}),
        ("inverse_sqrt", {}, {}),
    ],
)
def test_a_scheduler_of_transformers_gives_what_its_formula_gives(
    name: str, numbers: dict[str, float], extra: dict[str, float], warmup: int
) -> None:
    transformers = pytest.importorskip("transformers")

    def build(optimizer: torch.optim.Optimizer) -> Any:
        return transformers.get_scheduler(name, optimizer, warmup, STEPS - 5, scheduler_specific_kwargs=extra)

    found = formula(f"hf_{name}", total=STEPS - 5.0, warmup=float(warmup), **numbers)
    assert found == pytest.approx(real(build), rel=1e-9, abs=1e-12)


def test_ultralytics_goes_down_to_its_share_of_the_rate() -> None:
    assert formula("ultralytics_linear", 4, total=4.0, low=0.01) == pytest.approx([0.1, 0.07525, 0.0505, 0.02575])
    cosine = [0.1, 0.1 * (1 - 0.99 * (1 - math.cos(math.pi / 4)) / 2), 0.0505]
    assert formula("ultralytics_cosine", 3, total=4.0, low=0.01) == pytest.approx(cosine)


def test_a_constant_rate_stays() -> None:
    assert formula("constant", 3) == [0.1, 0.1, 0.1]
