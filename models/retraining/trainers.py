"""What trains the configurations of a method on a workload."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

import torch

from greedylr.schedules import ResolvedSchedule
from greedylr.workload import Workload
from models.methods.hypergradient import HypergradientDescent
from models.methods.line_search import LineSearch
from models.methods.method_training import MethodTrainer
from models.methods.polyak import PolyakStep
from models.methods.prodigy import train_with_prodigy
from models.methods.schedule_free import train_schedule_free
from models.retraining.batched_training import train_batched
from models.retraining.methods import ONE_BY_ONE, Method
from models.retraining.single_training import train_singly
from models.retraining.training_record import TrainingRecord


class Trainer(Protocol):
    """Trains one replica a schedule and rate: `batched_training.train_batched`, `single_training.train_singly`."""

    def __call__(
        self,
        workload: Workload,
        schedules: Sequence[ResolvedSchedule],
        learning_rates: Sequence[float],
        *,
        dtype: torch.dtype | None = None,
        on_step: Callable[[], None] = ...,
    ) -> TrainingRecord:
        """Return the record of the replicas, in the order given."""


def trainer_of(method: Method, workload: Workload) -> Trainer:
    """Return what trains the configurations of a method on a workload."""
    match method:
        case "schedule":
            return train_batched if is_batched(method, workload) else train_singly
        case "hypergradient":
            return MethodTrainer(HypergradientDescent(per="run"))
        case "hypergradient_tensor":
            return MethodTrainer(HypergradientDescent(per="tensor"))
        case "hypergradient_parameter":
            return MethodTrainer(HypergradientDescent(per="parameter"))
        case "line_search":
            return MethodTrainer(LineSearch())
        case "polyak":
            return MethodTrainer(PolyakStep())
        case "schedule_free":
            return train_schedule_free
        case "prodigy":
            return train_with_prodigy


def is_batched(method: Method, workload: Workload) -> bool:
    """Return whether replicas are trained in one program; else one by one, each a chunk of its own."""
    return workload.batched and method not in ONE_BY_ONE
