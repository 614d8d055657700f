"""The stochastic Polyak step with a bound.

Loizou, Vaswani, Laradji & Lacoste-Julien, "Stochastic Polyak Step-size for SGD", AISTATS 2021, there called SPS_max:
with f_i and its gradient g_i on the batch,

    rate = min((f_i(w) - f_i*) / (c ||g_i||²), maximum),   w <- w - rate g_i.

The configuration's learning rate is the maximum. f_i*, the least loss of a batch, is taken as 0, which losses that are
never negative do not fall below. It trains by plain SGD, whatever the workload's optimizer.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from models.methods.decayed_objective import DecayedObjective
from models.methods.method import Beginning, Step, Weights, inner_products, spread

# The paper's choice for convex losses, and the default of its code.
C = 0.5


@dataclass(frozen=True, kw_only=True)
class PolyakStep:
    """A `MakeMethod`.

    Parameters
    ----------
    c
        > 0; half of it and the step doubles.
    """

    c: float = C

    def __post_init__(self) -> None:
        if not (math.isfinite(self.c) and self.c > 0):
            raise ValueError(f"c must be finite and > 0, got {self.c!r}; the authors' is {C:g}")

    def __call__(self, beginning: Beginning) -> _Steps:
        """Return it at work."""
        return _Steps(beginning, self.c)


class _Steps:
    def __init__(self, beginning: Beginning, c: float) -> None:
        self._most = beginning.learning_rates
        self._c = c
        self._objective = DecayedObjective(beginning.descriptors.weight_decay)

    @torch.no_grad()
    def take(self, step: Step) -> tuple[Weights, Tensor]:
        """As `ReplicaMethod.take`.

        Raises
        ------
        ValueError
            If a loss is negative.
        """
        if bool((step.losses < 0).any()):
            raise ValueError(
                "the Polyak step takes 0 as the least loss there is, got a training loss of "
                f"{float(step.losses.min()):.6g}; leave it out on this workload, or shift the loss"
            )
        gradients = self._objective.gradients(step)
        values = self._objective.values(step.losses, step.weights).double()
        squared_norms = inner_products(gradients, gradients).double()
        # Without a gradient no step moves anything, and 0 / 0 is no rate.
        steps = torch.where(squared_norms > 0, values / (self._c * squared_norms), self._most)
        rates = torch.minimum(steps, self._most)
        new = {name: weight - spread(rates, weight) * gradients[name] for name, weight in step.weights.items()}
        return new, rates
