"""The line search of `models.methods.line_search` for one training, as its users run it, without replicas around it.

The plain reference of the batched one, and what is timed where seconds are compared.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from greedylr.workload import Workload
from models.methods.line_search import LineSearch
from models.retraining.batched_optimizers import CLIP_EPSILON


class SingleLineSearch:
    """Plain SGD on weights, which are changed in place, by rates that satisfy Armijo's condition.

    Parameters
    ----------
    weights
        Leaves that require gradients.
    workload
        Gives the loss, the projection, weight decay and clipping.
    learning_rate
        > 0, where the first search begins.
    total_steps
        Length of the run.
    settings
        As in the batched search.
    """

    def __init__(
        self,
        weights: Mapping[str, Tensor],
        workload: Workload,
        *,
        learning_rate: float,
        total_steps: int,
        settings: LineSearch | None = None,
    ) -> None:
        self._weights = dict(weights)
        self._workload = workload
        self._settings = settings or LineSearch()
        self._most = self._settings.maximum * learning_rate
        self._raise = math.pow(self._settings.growth, self._settings.epochs / total_steps)
        self._last = learning_rate / self._raise

    def step(self, batch: Any) -> tuple[float, float]:
        """Take a step on a batch; return its loss before the step and the rate, 0 where none was accepted."""
        loss = self._workload.training_loss(self._weights, batch)
        found = torch.autograd.grad(loss, tuple(self._weights.values()), materialize_grads=True)
        gradients = self._of_objective(dict(zip(self._weights, found, strict=True)))
        value = float(loss.detach())
        return value, self._searched(value + self._penalty(self._weights), gradients, batch)

    @torch.no_grad()
    def _searched(self, value: float, gradients: Mapping[str, Tensor], batch: Any) -> float:
        rate = min(self._last * self._raise, self._most)
        for _ in range(self._settings.most_trials):
            trial = self._workload.project({n: w - rate * gradients[n] for n, w in self._weights.items()})
            moves = [(gradient * (self._weights[name] - trial[name])).sum() for name, gradient in gradients.items()]
            promised = float(torch.stack(moves).sum())
            reached = float(self._workload.training_loss(trial, batch)) + self._penalty(trial)
            if reached <= value - self._settings.c * promised:
                for name, weight in self._weights.items():
                    weight.copy_(trial[name])
                self._last = rate
                return rate
            rate *= self._settings.reduction
        return 0.0

    @torch.no_grad()
    def _of_objective(self, gradients: dict[str, Tensor]) -> dict[str, Tensor]:
        told = self._workload.descriptors
        if told.max_gradient_norm is not None:
            norm = float(torch.nn.utils.get_total_norm(gradients.values()))
            share = min(1.0, told.max_gradient_norm / (norm + CLIP_EPSILON))
            gradients = {name: gradient * share for name, gradient in gradients.items()}
        if told.weight_decay:
            return {name: g.add(self._weights[name], alpha=told.weight_decay) for name, g in gradients.items()}
        return gradients

    @torch.no_grad()
    def _penalty(self, weights: Mapping[str, Tensor]) -> float:
        decay = self._workload.descriptors.weight_decay
        if decay == 0:
            return 0.0
        return decay / 2 * float(torch.stack([weight.square().sum() for weight in weights.values()]).sum())
