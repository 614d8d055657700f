"""The weights of many replicas of one workload, and functions of a replica taken of all of them at once."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from greedylr.workload import Split, Workload
from models.retraining.replica_state import finite_replicas
from models.retraining.training_record import first_failures

Weights = dict[str, Tensor]


class Replicas:
    """The weights of n replicas, (n, ...) each, and at which step each was ruined.

    Parameters
    ----------
    workload
        Gives the initial weights, the same for all.
    n_replicas
        n; 1 where the workload cannot be batched.
    dtype
        Type of the weights; None takes them as they come.
    """

    def __init__(self, workload: Workload, n_replicas: int, dtype: torch.dtype | None) -> None:
        self._workload = workload
        self._initial: Weights = {
            name: weight.detach() for name, weight in as_dtype(workload.parameters(), dtype).items()
        }
        self.weights = {
            name: weight.unsqueeze(0).repeat(n_replicas, *[1] * weight.dim()) for name, weight in self._initial.items()
        }
        self.device = next(iter(self._initial.values())).device
        self._dead = torch.zeros(n_replicas, dtype=torch.bool, device=self.device)
        self._ruined: list[Tensor] = []

    @torch.no_grad()
    def advance(self, losses: Tensor, new: Weights) -> Tensor:
        """Move to new weights, projected, and return which replicas are ruined, (n,): loss or weights not finite."""
        ruined = ~(losses.isfinite() & finite_replicas(new))
        self.weights = over_replicas(self._workload, self._workload.project)(new)
        return ruined

    def freeze(self, ruined: Tensor) -> None:
        """End the step: hold those ruined, now or earlier, at their first weights.

        An operation may refuse what is not finite, and what a replica does after it was ruined is no part of a record.
        """
        self._ruined.append(ruined)
        self._dead = self._dead | ruined
        if bool(self._dead.any()):
            dead = self._dead.nonzero().squeeze(1)
            for name, weight in self.weights.items():
                weight[dead] = self._initial[name]

    @property
    def diverged_step(self) -> NDArray[np.int64]:
        """The step at which each replica was ruined first, (n,); `training_record.NEVER` where none was."""
        return first_failures(torch.stack(self._ruined).cpu().numpy())

    @torch.no_grad()
    def evaluate(self, split: Split) -> NDArray[np.float64]:
        """Return the losses on a split, (n,)."""
        losses = over_replicas(self._workload, lambda weights: self._workload.evaluate(weights, split))(self.weights)
        return np.asarray(losses.double().cpu().numpy())


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
