"""One replica after the other, with `torch.optim` and the scheduler that users train with.

The slow reference of `batched_training`, and the way of workloads that cannot be batched.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import Parameter, ParameterList

from greedylr.decisions import Decision
from greedylr.scheduler import GreedyLR
from greedylr.schedules import ResolvedSchedule
from greedylr.workload import Workload, WorkloadDescriptors
from models.retraining.replicas import as_dtype
from models.retraining.single_optimizers import torch_optimizer
from models.retraining.training_record import NEVER, TrainingRecord, joined

Weights = dict[str, Parameter]
MakeOptimizer = Callable[[WorkloadDescriptors, Iterable[Tensor], float], torch.optim.Optimizer]


def train_singly(
    workload: Workload,
    schedules: Sequence[ResolvedSchedule],
    learning_rates: Sequence[float],
    *,
    dtype: torch.dtype | None = None,
    on_step: Callable[[], None] = lambda: None,
    make_optimizer: MakeOptimizer = torch_optimizer,
    before_evaluation: Callable[[Any], None] = lambda _: None,
) -> TrainingRecord:
    """Train one replica a schedule and rate; everything is as in `batched_training.train_batched`.

    With `make_optimizer` another optimizer than the workload's own trains it; `before_evaluation` is called with it at
    the end.
    """
    return joined(
        [
            _train_one(workload, schedule, rate, dtype, on_step, make_optimizer, before_evaluation)
            for schedule, rate in zip(schedules, learning_rates, strict=True)
        ]
    )


def _train_one(
    workload: Workload,
    schedule: ResolvedSchedule,
    learning_rate: float,
    dtype: torch.dtype | None,
    on_step: Callable[[], None],
    make_optimizer: MakeOptimizer,
    before_evaluation: Callable[[Any], None],
) -> TrainingRecord:
    initial: dict[str, Tensor] = as_dtype(workload.parameters(), dtype)
    weights = {name: Parameter(weight.detach().clone()) for name, weight in initial.items()}
    optimizer = make_optimizer(workload.descriptors, weights.values(), learning_rate)
    told: list[Decision] = []
    scheduler = GreedyLR(
        optimizer,
        schedule,
        model=ParameterList(weights.values()) if schedule.restores else None,
        on_decision=told.append if schedule.restores else None,
    )
    losses, rates = np.full(schedule.total_steps, np.nan), np.full(schedule.total_steps, np.nan)
    diverged_step = NEVER
    for step in range(schedule.total_steps):
        (rates[step],) = scheduler.get_last_lr()
        losses[step] = _step(workload, weights, optimizer, as_dtype(workload.batch(step), dtype))
        ruined = not (np.isfinite(losses[step]) and all(bool(weight.isfinite().all()) for weight in weights.values()))
        _project(workload, weights)
        told.clear()
        scheduler.step(float(losses[step]))
        restored = any(decision.kind in ("probe", "rollback") for decision in told)
        if ruined and not restored and not scheduler.controller.may_restore:
            diverged_step = step
            break
        on_step()
    selection, reporting = math.nan, math.nan
    # An evaluation may refuse weights that are not finite.
    if diverged_step == NEVER:
        before_evaluation(optimizer)
        _project(workload, weights)
        selection, reporting = _evaluated(workload, weights)
    return TrainingRecord.of(
        losses=losses[:, None],
        rates=rates[:, None],
        diverged_step=np.array([diverged_step]),
        selection=np.array([selection]),
        reporting=np.array([reporting]),
    )


def _step(workload: Workload, weights: Weights, optimizer: torch.optim.Optimizer, batch: object) -> float:
    optimizer.zero_grad(set_to_none=True)
    loss = workload.training_loss(weights, batch)
    loss.backward()  # type: ignore[no-untyped-call]
    if workload.descriptors.max_gradient_norm is not None:
        torch.nn.utils.clip_grad_norm_(weights.values(), workload.descriptors.max_gradient_norm)
    optimizer.step()
    return float(loss.detach())


@torch.no_grad()
def _evaluated(workload: Workload, weights: Weights) -> tuple[float, float]:
    return float(workload.evaluate(weights, "selection")), float(workload.evaluate(weights, "reporting"))


@torch.no_grad()
def _project(workload: Workload, weights: Weights) -> None:
    projected = workload.project({name: weight.detach() for name, weight in weights.items()})
    for name, weight in weights.items():
        weight.copy_(projected[name])
