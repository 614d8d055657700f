"""Trains replicas by a method that finds its rates itself; all else is as in `models.retraining.batched_training`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from greedylr.schedules import ResolvedSchedule
from greedylr.workload import Workload
from models.methods.method import Beginning, MakeMethod, Step
from models.methods.random_draws import RandomDraws
from models.retraining.batched_optimizers import clipped_gradients
from models.retraining.replicas import Replicas, as_dtype, losses_and_gradients, over_replicas
from models.retraining.training_record import TrainingRecord, joined


@dataclass(frozen=True)
class MethodTrainer:
    """Trains one replica a learning rate by a method.

    A workload that cannot be batched is trained one replica after the other, by the same code.
    """

    make_method: MakeMethod

    def __call__(
        self,
        workload: Workload,
        schedules: Sequence[ResolvedSchedule],
        learning_rates: Sequence[float],
        *,
        dtype: torch.dtype | None = None,
        on_step: Callable[[], None] = lambda: None,
    ) -> TrainingRecord:
        """Return the record of the replicas; of the schedules, which are constant, only the length is taken."""
        (total_steps,) = {schedule.total_steps for schedule in schedules}
        rates = list(learning_rates)
        together = [rates] if workload.batched else [[rate] for rate in rates]
        return joined([self._train(workload, total_steps, each, dtype, on_step) for each in together])

    def _train(
        self,
        workload: Workload,
        total_steps: int,
        learning_rates: list[float],
        dtype: torch.dtype | None,
        on_step: Callable[[], None],
    ) -> TrainingRecord:
        replicas = Replicas(workload, len(learning_rates), dtype)
        starts = torch.tensor(learning_rates, dtype=torch.float64, device=replicas.device)
        method = self.make_method(
            Beginning(descriptors=workload.descriptors, learning_rates=starts, total_steps=total_steps)
        )
        losses, rates = [], []
        for number in range(total_steps):
            step = step_of(workload, replicas, as_dtype(workload.batch(number), dtype))
            new, rate = method.take(step)
            replicas.freeze(replicas.advance(step.losses, new))
            losses.append(step.losses.to(torch.float64))
            rates.append(rate.to(torch.float64))
            on_step()
        return TrainingRecord.of(
            losses=torch.stack(losses).cpu().numpy(),
            rates=torch.stack(rates).cpu().numpy(),
            diverged_step=replicas.diverged_step,
            selection=replicas.evaluate("selection"),
            reporting=replicas.evaluate("reporting"),
        )


def step_of(workload: Workload, replicas: Replicas, batch: Any) -> Step:
    """Return what a method is given of a batch."""
    draws = RandomDraws(replicas.device)
    losses, gradients = losses_and_gradients(workload, replicas.weights, batch)
    if workload.descriptors.max_gradient_norm is not None:
        gradients = clipped_gradients(gradients, workload.descriptors.max_gradient_norm)

    @torch.no_grad()
    def losses_at(weights: Mapping[str, Tensor]) -> Tensor:
        draws.repeat()
        found: Tensor = over_replicas(workload, lambda replica: workload.training_loss(replica, batch))(weights)
        return found

    return Step(
        weights=replicas.weights,
        gradients=gradients,
        losses=losses,
        losses_at=losses_at,
        project=over_replicas(workload, workload.project),
    )
