"""Many replicas of one seed trained in one torch program: they share batches, and differ in schedule and rate.

The losses are taken with `torch.vmap` over replicas and differentiated as a sum, whose gradient is each replica's own.
Seeds are not batched: a seed is a workload of its own, whose losses may hold what the seed drew, and on two cores a
program over seeds and configurations was no faster than one over as many configurations.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from greedylr.schedules import ResolvedSchedule
from greedylr.workload import Split, Workload
from models.batched_schedule import BatchedRateController, Restoration
from models.retraining.batched_optimizers import batched_optimizer, clipped_gradients
from models.retraining.batched_snapshots import BatchedSnapshots
from models.retraining.replica_state import finite_replicas
from models.retraining.training_record import TrainingRecord, first_failures

Weights = dict[str, Tensor]


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
        self._initial: Weights = {
            name: weight.detach() for name, weight in as_dtype(workload.parameters(), dtype).items()
        }
        n_replicas, device = len(schedules), next(iter(self._initial.values())).device
        self._weights = {
            name: weight.unsqueeze(0).repeat(n_replicas, *[1] * weight.dim()) for name, weight in self._initial.items()
        }
        self._controller = BatchedRateController(schedules, learning_rates, device=str(device))
        self._optimizer = batched_optimizer(workload.descriptors)
        restoring = [bool(schedule.restores) for schedule in schedules]
        self._snapshots = BatchedSnapshots(restoring, self._weights) if any(restoring) else None
        self._dead = torch.zeros(n_replicas, dtype=torch.bool, device=device)
        self._losses: list[Tensor] = []
        self._rates: list[Tensor] = []
        self._ruined: list[Tensor] = []

    def step(self, batch: Any) -> None:
        """Take one step of every replica."""
        loss, gradients = losses_and_gradients(self._workload, self._weights, batch)
        if self._workload.descriptors.max_gradient_norm is not None:
            gradients = clipped_gradients(gradients, self._workload.descriptors.max_gradient_norm)
        rates = self._controller.learning_rates
        stepped = self._optimizer.updated(self._weights, gradients, rates)
        ruined = ~(loss.isfinite() & finite_replicas(stepped))
        with torch.no_grad():
            self._weights = torch.vmap(self._workload.project, randomness="same")(stepped)
        restoration = self._controller.observe(loss)
        if self._snapshots is not None:
            ruined &= ~self._saved(self._snapshots, restoration)
        self._freeze(ruined)
        self._losses.append(loss.double())
        self._rates.append(rates)
        self._ruined.append(ruined)

    def record(self) -> TrainingRecord:
        """Evaluate, and return what is on record."""
        return TrainingRecord.of(
            losses=torch.stack(self._losses).cpu().numpy(),
            rates=torch.stack(self._rates).cpu().numpy(),
            diverged_step=first_failures(torch.stack(self._ruined).cpu().numpy()),
            selection=self._evaluated("selection"),
            reporting=self._evaluated("reporting"),
        )

    def _saved(self, snapshots: BatchedSnapshots, restoration: Restoration | None) -> Tensor:
        """Keep and restore as told, and return which replicas were restored or may yet be, (n,)."""
        if restoration is None:
            return self._controller.may_restore
        snapshots.act(restoration, self._weights, self._optimizer.state)
        return self._controller.may_restore | restoration.restore

    def _freeze(self, ruined: Tensor) -> None:
        """Hold those ruined, now or earlier, at their first weights: an operation may refuse what is not finite."""
        self._dead = self._dead | ruined
        if bool(self._dead.any()):
            dead = self._dead.nonzero().squeeze(1)
            for name, weight in self._weights.items():
                weight[dead] = self._initial[name]

    @torch.no_grad()
    def _evaluated(self, split: Split) -> NDArray[np.float64]:
        """Return the losses on a split, (n,)."""
        losses = torch.vmap(lambda weights: self._workload.evaluate(weights, split), randomness="same")(self._weights)
        return np.asarray(losses.double().cpu().numpy())


def losses_and_gradients(workload: Workload, weights: Mapping[str, Tensor], batch: Any) -> tuple[Tensor, Weights]:
    """Return the losses (n,) of the replicas on a batch that they share, and their gradients (n, ...)."""
    leaves = {name: weight.detach().requires_grad_() for name, weight in weights.items()}
    with torch.enable_grad():
        losses = torch.vmap(lambda replica: workload.training_loss(replica, batch), randomness="same")(leaves)
        gradients = torch.autograd.grad(losses.sum(), tuple(leaves.values()), materialize_grads=True)
    return losses.detach(), dict(zip(leaves, gradients, strict=True))


def as_dtype(value: Any, dtype: torch.dtype | None) -> Any:
    """Return the floating tensors of a tensor, or of a tuple, list or dict of them, in a type; None changes nothing."""
    if dtype is None:
        return value
    if isinstance(value, Tensor):
        return value.to(dtype) if value.is_floating_point() else value
    if isinstance(value, dict):
        return {key: as_dtype(item, dtype) for key, item in value.items()}
    if isinstance(value, tuple | list):
        return tuple(as_dtype(item, dtype) for item in value)
    return value
