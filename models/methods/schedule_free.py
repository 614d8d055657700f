"""Schedule-free learning: no schedule, but an average of the iterates, whose gradient is taken at a point between.

Defazio, Yang, Mehta, Mishchenko, Khaled & Cutkosky, "The Road Less Scheduled", NeurIPS 2024, equations 3 to 5: with
c_{t+1} = 1 / (t + 1) (weighted by the squared rate during the warmup),

    y_t = (1 - beta) z_t + beta x_t,   z_{t+1} = z_t - rate g(y_t),   x_{t+1} = (1 - c_{t+1}) x_t + c_{t+1} z_{t+1}.

The authors' own optimizers (package `schedulefree`), one replica after the other: `SGDScheduleFree` for workloads of
SGD, `AdamWScheduleFree` for those of Adam and AdamW. What is evaluated is x. The configuration's learning rate is
theirs; they advise larger ones than a schedule's, which a grid finds that is extended where its edge is best.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import partial

import torch
from torch import Tensor

from greedylr.schedules import ResolvedSchedule
from greedylr.workload import Workload, WorkloadDescriptors
from models.methods.installed_package import baseline_package
from models.retraining.single_training import train_singly
from models.retraining.training_record import TrainingRecord

# Theirs, which is not a momentum though it is called so: a workload's own momentum does not matter to it.
BETA = 0.9
# Their examples warm up over 5 %, and so does the cosine that it is compared with.
WARMUP = 0.05


def train_schedule_free(
    workload: Workload,
    schedules: Sequence[ResolvedSchedule],
    learning_rates: Sequence[float],
    *,
    dtype: torch.dtype | None = None,
    on_step: Callable[[], None] = lambda: None,
) -> TrainingRecord:
    """Train one replica a learning rate; of the schedules, which are constant, only the length is taken.

    Raises
    ------
    ValueError
        If the package is absent.
    """
    (total_steps,) = {schedule.total_steps for schedule in schedules}
    return train_singly(
        workload,
        schedules,
        learning_rates,
        dtype=dtype,
        on_step=on_step,
        make_optimizer=partial(_optimizer, total_steps),
        before_evaluation=lambda optimizer: optimizer.eval(),
    )


def _optimizer(
    total_steps: int, descriptors: WorkloadDescriptors, weights: Iterable[Tensor], learning_rate: float
) -> torch.optim.Optimizer:
    package = baseline_package("schedule_free")
    settings = {
        "lr": learning_rate,
        "weight_decay": descriptors.weight_decay,
        "warmup_steps": round(WARMUP * total_steps),
    }
    if descriptors.optimizer == "sgd":
        optimizer = package.SGDScheduleFree(list(weights), momentum=BETA, **settings)
    else:
        betas = (BETA, descriptors.beta2)
        optimizer = package.AdamWScheduleFree(list(weights), betas=betas, eps=descriptors.epsilon, **settings)
    optimizer.train()
    made: torch.optim.Optimizer = optimizer
    return made
