"""What a method is that finds its rates itself: given one step's losses and gradients it returns new weights."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from greedylr.workload import WorkloadDescriptors

Weights = dict[str, Tensor]


@dataclass(frozen=True, kw_only=True)
class Beginning:
    """What a method knows before the first step.

    Parameters
    ----------
    descriptors
        Of the workload: its optimizer and weight decay.
    learning_rates
        (n,) float64, > 0: the rates of the configurations; what they mean is the method's own.
    total_steps
        Length of the run.
    """

    descriptors: WorkloadDescriptors
    learning_rates: Tensor
    total_steps: int


@dataclass(frozen=True, kw_only=True)
class Step:
    """One step of n replicas.

    Parameters
    ----------
    weights, gradients
        (n, ...) each, by name; gradients are clipped where the workload clips.
    losses
        (n,): training losses of the batch; those that are not finite belong to replicas that are out.
    losses_at
        Gives the losses (k,) of other weights (k, ...) on the same batch, with the same random draws.
    project
        Projects weights (k, ...) onto what the workload allows.
    """

    weights: Mapping[str, Tensor]
    gradients: Mapping[str, Tensor]
    losses: Tensor
    losses_at: Callable[[Mapping[str, Tensor]], Tensor]
    project: Callable[[Mapping[str, Tensor]], Weights]


class ReplicaMethod(Protocol):
    """A method at work on n replicas, with what it remembers of them."""

    def take(self, step: Step) -> tuple[Weights, Tensor]:
        """Return new weights, which share no memory with the old ones, and the rates (n,) that were taken."""


MakeMethod = Callable[[Beginning], ReplicaMethod]


def spread(values: Tensor, weight: Tensor) -> Tensor:
    """Return one value a replica, (n,), in a weight's type and shaped to be multiplied with it."""
    return values.to(weight.dtype).reshape(-1, *[1] * (weight.dim() - 1))


def inner_products(first: Mapping[str, Tensor], second: Mapping[str, Tensor]) -> Tensor:
    """Return the inner product (n,) of each replica's tensors in one set with those in another."""
    return torch.stack([rows(first[name] * second[name]).sum(1) for name in first]).sum(0)


def rows(weight: Tensor) -> Tensor:
    """Return a weight (n, ...) with all of a replica in one row; a weight may be a single number."""
    return weight.reshape(len(weight), -1)
