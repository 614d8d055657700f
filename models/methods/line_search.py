"""Stochastic line search: each step's rate is the first, going down, at which the batch's own loss falls enough.

Vaswani, Mishkin, Laradji, Schmidt, Gidel & Lacoste-Julien, "Painless Stochastic Gradient: Interpolation, Line-Search,
and Convergence Rates", NeurIPS 2019, algorithm 1 (SGD with Armijo) and algorithm 2 (reset, the option by which their
experiments were made): with f_i and its gradient g_i on the batch, a rate is accepted where

    f_i(w - rate g_i) <= f_i(w) - c rate ||g_i||²

and is multiplied by 0.9 until then. A search begins at the last accepted rate times 2 ** (1 / steps an epoch). Where a
workload projects its weights the step is taken along the projection arc, w(rate) = P(w - rate g_i), and accepted by
c <g_i, w - w(rate)> (Bertsekas, IEEE TAC 1976), which without a projection is the same.

It trains by plain SGD, whatever the workload's optimizer. Each trial is a forward pass more, and is counted.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from greedylr.rule import require_count, require_number
from models.methods.decayed_objective import DecayedObjective
from models.methods.method import Beginning, Step, Weights, inner_products, spread


@dataclass(frozen=True, kw_only=True)
class LineSearch:
    """A `MakeMethod`, with the settings of the paper's experiments.

    The configuration's learning rate is where the first search begins; no rate is above `maximum` times that. (The
    authors' code begins at 1 and bounds by 10.)

    Parameters
    ----------
    c
        In (0, 1): share of the fall that the gradient promises.
    reduction
        In (0, 1): what a rate that was not accepted is multiplied by.
    growth
        >= 1: what the rate is raised by, over an epoch, before each search.
    epochs
        >= 1: epochs of a run. Workloads do not say how many batches an epoch has, and some have none, so that an epoch
        is a tenth of the run.
    maximum
        >= 1, in starting rates.
    most_trials
        >= 1. Where so many rates were refused the replica stays where it is for this batch, and the next search begins
        where this one did. (The authors' code then takes a step of 1e-6, accepted or not.)
    """

    c: float = 0.1
    reduction: float = 0.9
    growth: float = 2.0
    epochs: int = 10
    maximum: float = 10.0
    most_trials: int = 100

    def __post_init__(self) -> None:
        for name in ("c", "reduction"):
            value = getattr(self, name)
            if not 0 < value < 1:
                raise ValueError(f"{name} must lie in (0, 1), got {value!r}; the authors' are c=0.1 and reduction=0.9")
        for name in ("growth", "maximum"):
            require_number(name, getattr(self, name), minimum=1.0)
        for name in ("epochs", "most_trials"):
            require_count(name, getattr(self, name), minimum=1)

    def __call__(self, beginning: Beginning) -> Searches:
        """Return it at work."""
        return Searches(self, beginning)


class Searches:
    """The searches of n replicas; `forward_passes` (n,) are those beyond the one that the gradient takes."""

    def __init__(self, settings: LineSearch, beginning: Beginning) -> None:
        self._settings = settings
        self._most = settings.maximum * beginning.learning_rates
        self._raise = math.pow(settings.growth, settings.epochs / beginning.total_steps)
        # So that the first search begins at the learning rate itself.
        self._last = beginning.learning_rates / self._raise
        self._objective = DecayedObjective(beginning.descriptors.weight_decay)
        self.forward_passes = torch.zeros_like(beginning.learning_rates, dtype=torch.int64)

    @torch.no_grad()
    def take(self, step: Step) -> tuple[Weights, Tensor]:
        """As `ReplicaMethod.take`; the rate of a replica that accepted none is 0."""
        gradients = self._objective.gradients(step)
        values = self._objective.values(step.losses, step.weights)
        rates = torch.minimum(self._last * self._raise, self._most)
        new = {name: weight.clone() for name, weight in step.weights.items()}
        searching = torch.isfinite(values).nonzero().squeeze(1)
        accepted = torch.zeros_like(values, dtype=torch.bool)
        for _ in range(self._settings.most_trials):
            if not len(searching):
                break
            trial = _moved(step, gradients, rates, searching)
            enough = self._falls_enough(step, gradients, values, trial, searching)
            self.forward_passes[searching] += 1
            found = searching[enough]
            accepted[found] = True
            for name, weight in new.items():
                weight[found] = trial[name][enough]
            searching = searching[~enough]
            rates[searching] *= self._settings.reduction
        self._last = torch.where(accepted, rates, self._last)
        return new, torch.where(accepted, rates, torch.zeros_like(rates))

    def _falls_enough(
        self, step: Step, gradients: Weights, values: Tensor, trial: Weights, searching: Tensor
    ) -> Tensor:
        moves = {name: step.weights[name][searching] - weight for name, weight in trial.items()}
        promised = inner_products({name: gradient[searching] for name, gradient in gradients.items()}, moves)
        reached = self._objective.values(step.losses_at(trial), trial)
        return reached <= values[searching] - self._settings.c * promised


def _moved(step: Step, gradients: Mapping[str, Tensor], rates: Tensor, which: Tensor) -> Weights:
    """Return the weights of some replicas, each moved by its own rate and projected."""
    return step.project(
        {
            name: weight[which] - spread(rates[which], weight) * gradients[name][which]
            for name, weight in step.weights.items()
        }
    )
