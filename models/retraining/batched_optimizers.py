"""Optimizers for many replicas at once, each with a rate of its own; equal to those of `torch.optim`.

Weights and gradients are (n_replicas, ...), rates (n_replicas,).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

import torch
from torch import Tensor

from greedylr.workload import WorkloadDescriptors
from models.retraining.replica_state import ReplicaState

# torch.nn.utils.clip_grad_norm_ adds it to the norm before it divides.
CLIP_EPSILON = 1e-6


class BatchedOptimizer(Protocol):
    """One step of many replicas, and what it remembers of each of them."""

    state: ReplicaState

    def updated(
        self, weights: Mapping[str, Tensor], gradients: Mapping[str, Tensor], learning_rates: Tensor
    ) -> dict[str, Tensor]:
        """Return the weights after one step; the given ones stay as they are."""


def batched_optimizer(descriptors: WorkloadDescriptors) -> BatchedOptimizer:
    """Return the optimizer that a workload is trained with."""
    if descriptors.optimizer == "sgd":
        return BatchedSGD(descriptors.momentum, nesterov=descriptors.nesterov, weight_decay=descriptors.weight_decay)
    return BatchedAdam(
        beta1=descriptors.beta1,
        beta2=descriptors.beta2,
        epsilon=descriptors.epsilon,
        weight_decay=descriptors.weight_decay,
        decoupled=descriptors.optimizer == "adamw",
    )


class BatchedSGD:
    """SGD as `torch.optim.SGD`, without dampening.

    gradient <- gradient + weight_decay x weight;  buffer <- momentum x buffer + gradient;
    weight <- weight - rate x buffer, or with Nesterov's momentum weight - rate x (gradient + momentum x buffer).

    Parameters
    ----------
    momentum, weight_decay
        >= 0, the same for all replicas.
    nesterov
        Whether the gradient is looked at where the momentum leads.
    """

    def __init__(self, momentum: float, *, nesterov: bool = False, weight_decay: float = 0.0) -> None:
        self.momentum = momentum
        self.nesterov = nesterov
        self.weight_decay = weight_decay
        self.state = ReplicaState()

    @torch.no_grad()
    def updated(
        self, weights: Mapping[str, Tensor], gradients: Mapping[str, Tensor], learning_rates: Tensor
    ) -> dict[str, Tensor]:
        """As `BatchedOptimizer.updated`."""
        decayed = _with_decay(weights, gradients, self.weight_decay)
        return {
            name: torch.addcmul(weight, self._direction(name, decayed[name]), _spread(-learning_rates, weight))
            for name, weight in weights.items()
        }

    def _direction(self, name: str, gradient: Tensor) -> Tensor:
        if self.momentum == 0:
            return gradient
        buffer = self.state.of(name, gradient)
        # One pass over memory, which is what a step of many replicas waits for.
        torch.add(gradient, buffer, alpha=self.momentum, out=buffer)
        return gradient.add(buffer, alpha=self.momentum) if self.nesterov else buffer


class BatchedAdam:
    """Adam (Kingma & Ba 2015, algorithm 1) and AdamW (Loshchilov & Hutter 2019, algorithm 2) as in `torch.optim`.

    m <- beta1 m + (1 - beta1) g;  v <- beta2 v + (1 - beta2) g²;  with both corrected for their start at 0,
    weight <- weight - rate x m / (sqrt(v) + epsilon). The corrections are taken into rate and epsilon, as the end of
    section 2 of the former has it.

    Parameters
    ----------
    beta1, beta2
        In [0, 1).
    epsilon
        > 0.
    weight_decay
        >= 0: added to the gradient, or where `decoupled` (AdamW) taken off the weight, times the rate.
    """

    def __init__(
        self, *, beta1: float, beta2: float, epsilon: float, weight_decay: float = 0.0, decoupled: bool = False
    ) -> None:
        self.beta1 = beta1
        self.beta2 = beta2
        self.epsilon = epsilon
        self.weight_decay = weight_decay
        self.decoupled = decoupled
        self.state = ReplicaState()

    @torch.no_grad()
    def updated(
        self, weights: Mapping[str, Tensor], gradients: Mapping[str, Tensor], learning_rates: Tensor
    ) -> dict[str, Tensor]:
        """As `BatchedOptimizer.updated`."""
        # A replica that was restored has taken fewer steps than the others.
        steps = self.state.of("steps", learning_rates.double()).add_(1)
        mean_share, square_share = 1 - self.beta1**steps, (1 - self.beta2**steps).sqrt()
        if not self.decoupled:
            gradients = _with_decay(weights, gradients, self.weight_decay)
        elif self.weight_decay:
            kept = 1 - learning_rates * self.weight_decay
            weights = {name: weight * _spread(kept, weight) for name, weight in weights.items()}
        epsilons, rates = self.epsilon * square_share, learning_rates * square_share / mean_share
        return {
            name: torch.addcmul(weight, self._direction(name, gradients[name], epsilons), _spread(-rates, weight))
            for name, weight in weights.items()
        }

    def _direction(self, name: str, gradient: Tensor, epsilons: Tensor) -> Tensor:
        mean = self.state.of(f"{name} mean", gradient).lerp_(gradient, 1 - self.beta1)
        square = self.state.of(f"{name} square", gradient).mul_(self.beta2)
        square.addcmul_(gradient, gradient, value=1 - self.beta2)
        return mean / square.sqrt().add_(_spread(epsilons, gradient))


@torch.no_grad()
def clipped_gradients(gradients: Mapping[str, Tensor], max_norm: float) -> dict[str, Tensor]:
    """Return the gradients with each replica's norm over all its weights brought down to `max_norm` where it is above.

    As `torch.nn.utils.clip_grad_norm_` (Pascanu et al. 2013, algorithm 1).
    """
    norms = torch.stack([gradient.reshape(len(gradient), -1).norm(dim=1) for gradient in gradients.values()]).norm(
        dim=0
    )
    factors = (max_norm / (norms + CLIP_EPSILON)).clamp(max=1.0)
    return {name: gradient * _spread(factors, gradient) for name, gradient in gradients.items()}


def _with_decay(
    weights: Mapping[str, Tensor], gradients: Mapping[str, Tensor], weight_decay: float
) -> Mapping[str, Tensor]:
    if weight_decay == 0:
        return gradients
    return {name: gradient.add(weights[name], alpha=weight_decay) for name, gradient in gradients.items()}


def _spread(rates: Tensor, weight: Tensor) -> Tensor:
    """Return the rates in the weight's type, shaped to be multiplied with it."""
    return rates.to(weight.dtype).reshape(-1, *[1] * (weight.dim() - 1))
