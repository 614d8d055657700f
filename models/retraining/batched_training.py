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
from models.batched_schedule import BatchedRateController
from models.retraining.batched_optimizers import batched_optimizer, clipped_gradients
from models.retraining.training_record import NEVER, TrainingRecord

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

    A replica diverges at the first step whose loss or new weights are not finite. It then keeps its last finite weights
    and touches no other.

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
    replicas = Replicas(workload, len(schedules), dtype)
    controller = BatchedRateController(schedules, learning_rates, device=str(replicas.device))
    optimizer = batched_optimizer(workload.descriptors)
    max_norm = workload.descriptors.max_gradient_norm
    losses, rates = [], []
    for step in range(controller.total_steps):
        batch = as_dtype(workload.batch(step), dtype)
        loss, gradients = losses_and_gradients(workload, replicas.weights, batch)
        if max_norm is not None:
            gradients = clipped_gradients(gradients, max_norm)
        rate = controller.learning_rates
        replicas.bury(~torch.isfinite(loss), step)
        replicas.advance(optimizer.updated(replicas.weights, gradients, rate), step)
        controller.observe(loss)
        losses.append(loss.to(torch.float64))
        rates.append(rate)
        on_step()
    return TrainingRecord.of(
        losses=torch.stack(losses).cpu().numpy(),
        rates=torch.stack(rates).cpu().numpy(),
        diverged_step=replicas.diverged_step,
        selection=replicas.evaluate("selection"),
        reporting=replicas.evaluate("reporting"),
    )


class Replicas:
    """The weights of n replicas, (n, ...) each, and which of them diverged."""

    def __init__(self, workload: Workload, n_replicas: int, dtype: torch.dtype | None) -> None:
        self._workload = workload
        initial: Weights = as_dtype(workload.parameters(), dtype)
        self.weights = {
            name: weight.detach().unsqueeze(0).repeat(n_replicas, *[1] * weight.dim())
            for name, weight in initial.items()
        }
        self.device = next(iter(initial.values())).device
        self.diverged_step: NDArray[np.int64] = np.full(n_replicas, NEVER, dtype=np.int64)
        self._alive = torch.ones(n_replicas, dtype=torch.bool, device=self.device)
        self._dead = torch.empty(0, dtype=torch.int64, device=self.device)

    def bury(self, failed: Tensor, step: int) -> None:
        """Take out the replicas marked in `failed` (n,) that were alive."""
        failed = failed & self._alive
        if not bool(failed.any()):
            return
        self.diverged_step[failed.cpu().numpy()] = step
        self._alive = self._alive & ~failed
        self._dead = (~self._alive).nonzero().squeeze(1)

    @torch.no_grad()
    def advance(self, new: Weights, step: int) -> None:
        """Move to new weights, projected; replicas that are dead, or whose new weights overflow, stay behind."""
        self._restore_dead(new)
        # A finite sum rules out what is not finite at the price of one pass; only else is every weight looked at.
        if not bool(torch.isfinite(torch.stack([rows.sum(1) for rows in _flat(new)])).all()):
            self.bury(~torch.stack([torch.isfinite(rows).all(1) for rows in _flat(new)]).all(0), step)
            self._restore_dead(new)
        self.weights = over_replicas(self._workload, self._workload.project)(new)

    @torch.no_grad()
    def evaluate(self, split: Split) -> NDArray[np.float64]:
        """Return the losses on a split, (n,)."""
        losses = over_replicas(self._workload, lambda weights: self._workload.evaluate(weights, split))(self.weights)
        return np.asarray(losses.to(torch.float64).cpu().numpy())

    def _restore_dead(self, new: Weights) -> None:
        if len(self._dead):
            for name, weight in new.items():
                weight.index_copy_(0, self._dead, self.weights[name].index_select(0, self._dead))


def losses_and_gradients(workload: Workload, weights: Mapping[str, Tensor], batch: Any) -> tuple[Tensor, Weights]:
    """Return the losses (n,) of the replicas on a batch that they share, and their gradients (n, ...)."""
    leaves = {name: weight.detach().requires_grad_() for name, weight in weights.items()}
    with torch.enable_grad():
        losses = over_replicas(workload, lambda replica: workload.training_loss(replica, batch))(leaves)
        gradients = torch.autograd.grad(losses.sum(), tuple(leaves.values()), materialize_grads=True)
    return losses.detach(), dict(zip(leaves, gradients, strict=True))


def over_replicas(workload: Workload, function: Callable[[Any], Any]) -> Callable[[Mapping[str, Tensor]], Any]:
    """Return a function of one replica's weights as one of the weights (n, ...) of all.

    A workload that cannot be batched takes one replica: it calls the function as it is.
    """
    if workload.batched:
        return torch.vmap(function, randomness="same")

    def of_one(weights: Mapping[str, Tensor]) -> Any:
        value = function({name: weight.squeeze(0) for name, weight in weights.items()})
        if isinstance(value, dict):
            return {name: weight.unsqueeze(0) for name, weight in value.items()}
        return value.unsqueeze(0)

    return of_one


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


def _flat(weights: Weights) -> list[Tensor]:
    return [weight.reshape(len(weight), -1) for weight in weights.values()]
