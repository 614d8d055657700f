"""Prodigy: Adam that estimates the distance to the solution, and with it the learning rate.

Mishchenko & Defazio, "Prodigy: An Expeditiously Adaptive Parameter-Free Learner", ICML 2024: Adam's step times d_t,
the largest so far of

    <sum of weighted gradients, w_0 - w_t> / ||sum of weighted gradients||_1.

The authors' own optimizer (package `prodigyopt`), one replica after the other, under the cosine that they advise. In
place of a rate it has a factor, 1 if left alone: the configuration's learning rate is taken in multiples of the
workload's usual one, so that tuning it on everyone's grid tries factors around 1.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import torch
from torch import Tensor

from greedylr.schedules import ResolvedSchedule
from greedylr.workload import Workload, WorkloadDescriptors
from models.methods.installed_package import baseline_package
from models.retraining.single_training import train_singly
from models.retraining.training_record import TrainingRecord


def train_with_prodigy(
    workload: Workload,
    schedules: Sequence[ResolvedSchedule],
    learning_rates: Sequence[float],
    *,
    dtype: torch.dtype | None = None,
    on_step: Callable[[], None] = lambda: None,
) -> TrainingRecord:
    """Train one replica a schedule and rate; the rates recorded are the factors.

    Raises
    ------
    ValueError
        If the package is absent.
    """
    usual = workload.descriptors.usual_learning_rate
    factors = [rate / usual for rate in learning_rates]
    return train_singly(workload, schedules, factors, dtype=dtype, on_step=on_step, make_optimizer=_optimizer)


def _optimizer(
    descriptors: WorkloadDescriptors, weights: Iterable[Tensor], learning_rate: float
) -> torch.optim.Optimizer:
    optimizer: torch.optim.Optimizer = baseline_package("prodigy").Prodigy(list(weights), lr=learning_rate)
    # Not in the constructor, which would print that weight decay is decoupled.
    for group in optimizer.param_groups:
        group["weight_decay"] = descriptors.weight_decay
    return optimizer
