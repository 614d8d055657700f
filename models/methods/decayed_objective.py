"""The objective of methods that look at the loss: the training loss plus the penalty that weight decay stands for."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from models.methods.method import Step, Weights, inner_products


class DecayedObjective:
    """f(w) = loss(w) + weight_decay / 2 ||w||², whose gradient is what SGD with weight decay follows.

    AdamW's decay, which belongs to no objective, is taken as this one.
    """

    def __init__(self, weight_decay: float) -> None:
        self._weight_decay = weight_decay

    def values(self, losses: Tensor, weights: Mapping[str, Tensor]) -> Tensor:
        """Return f, (n,), where the losses are known."""
        if self._weight_decay == 0:
            return losses
        return losses + self._weight_decay / 2 * inner_products(weights, weights)

    def gradients(self, step: Step) -> Weights:
        """Return the gradients of f, (n, ...)."""
        if self._weight_decay == 0:
            return dict(step.gradients)
        return {
            name: torch.add(gradient, step.weights[name], alpha=self._weight_decay)
            for name, gradient in step.gradients.items()
        }
