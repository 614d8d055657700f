"""Optimizers for many replicas at once, each with a rate of its own."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor


class BatchedSGD:
    """SGD with momentum as `torch.optim.SGD` (no dampening, not Nesterov's).

    buffer <- momentum x buffer + gradient;  weight <- weight - rate x buffer

    Parameters
    ----------
    momentum
        >= 0, the same for all replicas.
    """

    def __init__(self, momentum: float) -> None:
        self.momentum = momentum
        self._buffers: dict[str, Tensor] = {}

    @torch.no_grad()
    def updated(
        self, weights: Mapping[str, Tensor], gradients: Mapping[str, Tensor], learning_rates: Tensor
    ) -> dict[str, Tensor]:
        """Return the weights after one step; the given ones stay as they are.

        Weights and gradients are (n_replicas, ...), the rates (n_replicas,).
        """
        return {
            name: torch.addcmul(weight, self._direction(name, gradients[name]), _spread(-learning_rates, weight))
            for name, weight in weights.items()
        }

    def _direction(self, name: str, gradient: Tensor) -> Tensor:
        if self.momentum == 0:
            return gradient
        if name not in self._buffers:
            self._buffers[name] = gradient.clone()
            return self._buffers[name]
        return self._buffers[name].mul_(self.momentum).add_(gradient)


def _spread(rates: Tensor, weight: Tensor) -> Tensor:
    """Return the rates in the weight's type, shaped to be multiplied with it."""
    return rates.to(weight.dtype).reshape(-1, *[1] * (weight.dim() - 1))
