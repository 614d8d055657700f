"""Many replicas of one seed trained in one torch program: they share batches, and differ in schedule and rate.

The losses are taken with `torch.vmap` over replicas and differentiated as a sum, whose gradient is each replica's own.
Seeds are not batched: a seed is a workload of its own, whose losses may hold what the seed drew, and on two cores a
program over seeds and configurations was no faster than one over as many configurations.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from greedylr.schedules import ResolvedSchedule
from greedylr.workload import Workload
from models.batched_schedule import BatchedRateController, Restoration
from models.retraining.batched_optimizers import batched_optimizer, clipped_gradients
from models.retraining.batched_snapshots import BatchedSnapshots
from models.retraining.replicas import Replicas, as_dtype, losses_and_gradients
from models.retraining.training_record import TrainingRecord


def train_batched(
    workload: Workload,
    schedules: Sequence[ResolvedSchedule],
    learning_rates: Sequence[float],
    *,
    dtype: torch.dtype | None = None,
    on_step: Callable[[], None] = lambda: None,
) -> TrainingRecord:
    """Train one replica a schedule and rate, all with the workload's seed.

    A replica diverges at the first step whose loss or new weights are not finite. It is then frozen, and touches no
    other. One whose schedule restores weights (a probe, a rollback) lives on as long as that may bring
    it back: with weights that are not finite too, until the decision that restores it; it diverges at the step from
    which on there is none to come, since the rollback gives up there or the decisions are over.

    Parameters
    ----------
    workload
        A batched one.
    schedules, learning_rates
        One a replica, n in all; the schedules are of one length.
    dtype
        Type of weights and batches; None takes them as they come.
    on_step
        Called after each step.
    """
    program = _Program(workload, schedules, learning_rates, dtype)
    for step in range(schedules[0].total_steps):
        program.step(as_dtype(workload.batch(step), dtype))
        on_step()
    return program.record()


class _Program:
    """n replicas that are trained at once, and what is on record of them."""

    def __init__(
        self,
        workload: Workload,
        schedules: Sequence[ResolvedSchedule],
        learning_rates: Sequence[float],
        dtype: torch.dtype | None,
    ) -> None:
        self._workload = workload
        self._replicas = Replicas(workload, len(schedules), dtype)
        self._controller = BatchedRateController(schedules, learning_rates, device=str(self._replicas.device))
        self._optimizer = batched_optimizer(workload.descriptors)
        restoring = [bool(schedule.restores) for schedule in schedules]
        self._snapshots = BatchedSnapshots(restoring, self._replicas.weights) if any(restoring) else None
        self._losses: list[Tensor] = []
        self._rates: list[Tensor] = []

    def step(self, batch: Any) -> None:
        """Take one step of every replica."""
        weights = self._replicas.weights
        loss, gradients = losses_and_gradients(self._workload, weights, batch)
        if self._workload.descriptors.max_gradient_norm is not None:
            gradients = clipped_gradients(gradients, self._workload.descriptors.max_gradient_norm)
        rates = self._controller.learning_rates
        ruined = self._replicas.advance(loss, self._optimizer.updated(weights, gradients, rates))
        restoration = self._controller.observe(loss)
        if self._snapshots is not None:
            ruined &= ~self._saved(self._snapshots, restoration)
        self._replicas.freeze(ruined)
        self._losses.append(loss.double())
        self._rates.append(rates)

    def record(self) -> TrainingRecord:
        """Evaluate, and return what is on record."""
        return TrainingRecord.of(
            losses=torch.stack(self._losses).cpu().numpy(),
            rates=torch.stack(self._rates).cpu().numpy(),
            diverged_step=self._replicas.diverged_step,
            selection=self._replicas.evaluate("selection"),
            reporting=self._replicas.evaluate("reporting"),
        )

    def _saved(self, snapshots: BatchedSnapshots, restoration: Restoration | None) -> Tensor:
        """Keep and restore as told, and return which replicas were restored or may yet be, (n,)."""
        if restoration is None:
            return self._controller.may_restore
        snapshots.act(restoration, self._replicas.weights, self._optimizer.state)
        return self._controller.may_restore | restoration.restore
