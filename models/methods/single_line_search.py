"""The line search of `models.methods.line_search` for one training, as its users run it, without replicas around it.

The plain reference of the batched one, and what is timed where seconds are compared.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from greedylr.workload import Workload
from models.methods.line_search import LineSearch


class SingleLineSearch:
    """Plain SGD on weights, which are changed in place, by rates that satisfy Armijo's condition.

    Parameters
    ----------
    weights
        Leaves that require gradients.
    workload
        Gives the loss and the projection; its weight decay and clipping, if it has any, are left out.
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
        self._raise = self._settings.growth ** (self._settings.epochs / total_steps)
        self._last = learning_rate / self._raise

    def step(self, batch: Any) -> tuple[float, float]:
        """Take a step on a batch; return its loss before the step and the rate, 0 where none was accepted."""
        loss = self._workload.training_loss(self._weights, batch)
        gradients = dict(
            zip(self._weights, torch.autograd.grad(loss, tuple(self._weights.values()), allow_unused=True), strict=True)
        )
        value = float(loss.detach())
        return value, self._searched(value, {name: g for name, g in gradients.items() if g is not None}, batch)

    @torch.no_grad()
    def _searched(self, value: float, gradients: Mapping[str, Tensor], batch: Any) -> float:
        rate = min(self._last * self._raise, self._most)
        for _ in range(self._settings.most_trials):
            trial = dict(self._weights)
            trial |= {name: self._weights[name] - rate * gradient for name, gradient in gradients.items()}
            trial = self._workload.project(trial)
            moves = [(gradient * (self._weights[name] - trial[name])).sum() for name, gradient in gradients.items()]
            promised = float(torch.stack(moves).sum())
            if float(self._workload.training_loss(trial, batch)) <= value - self._settings.c * promised:
                for name, weight in self._weights.items():
                    weight.copy_(trial[name])
                self._last = rate
                return rate
            rate *= self._settings.reduction
        return 0.0
