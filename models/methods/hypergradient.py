"""Hypergradient descent: the learning rate itself follows the gradient of the loss.

Baydin, Cornish, Martinez Rubio, Schmidt & Wood, "Online Learning Rate Adaptation with Hypergradient Descent", ICLR
2018, algorithms 4 to 6. With the direction d_t that the optimizer takes at rate 1, so that w_t = w_{t-1} - a_t d_t,

    a_t = a_{t-1} + beta <g_t, d_{t-1}>

since -<g_t, d_{t-1}> is the derivative of the objective at w_{t-1} by a_{t-1}. Weight decay is part of the objective
and so of g_t, as in the authors' code. Nothing keeps a rate positive, as in the paper.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor

from greedylr.rule import require_choice, require_number
from models.methods.decayed_objective import DecayedObjective
from models.methods.method import Beginning, Step, Weights, inner_products, rows, spread
from models.retraining.batched_optimizers import batched_optimizer

Per = Literal["run", "tensor", "parameter"]

# The authors start from 1e-3 with beta = 1e-3 (SGD, with and without momentum) and 1e-7 (Adam). A rate has another unit
# on each problem and beta that of a rate over a squared gradient: what is kept is their ratio to the starting rate.
BETA_OF_SGD = 1.0
BETA_OF_ADAM = 1e-4


@dataclass(frozen=True, kw_only=True)
class HypergradientDescent:
    """A `MakeMethod`: the rates start at the configuration's learning rate.

    Parameters
    ----------
    per
        What has a rate of its own: the "run" (the paper's), each weight "tensor", or each "parameter" (both follow the
        same gradient, each rate its own component).
    beta_of_sgd, beta_of_adam
        >= 0: the rate at which the rates move, in starting rates.
    """

    per: Per
    beta_of_sgd: float = BETA_OF_SGD
    beta_of_adam: float = BETA_OF_ADAM

    def __post_init__(self) -> None:
        require_choice("per", self.per, get_args(Per))
        for name in ("beta_of_sgd", "beta_of_adam"):
            require_number(name, getattr(self, name), minimum=0.0)

    def __call__(self, beginning: Beginning) -> _Descent:
        """Return it at work."""
        ratio = self.beta_of_sgd if beginning.descriptors.optimizer == "sgd" else self.beta_of_adam
        return _Descent(beginning, self.per, ratio)


class _Descent:
    def __init__(self, beginning: Beginning, per: Per, ratio: float) -> None:
        self._optimizer = batched_optimizer(beginning.descriptors)
        self._objective = DecayedObjective(beginning.descriptors.weight_decay)
        self._per = per
        self._start = beginning.learning_rates
        self._betas = ratio * beginning.learning_rates
        self._rates: Weights = {}
        self._directions: Weights = {}

    @torch.no_grad()
    def take(self, step: Step) -> tuple[Weights, Tensor]:
        """As `ReplicaMethod.take`."""
        if not self._rates:
            self._rates = {name: spread(self._start, weight) for name, weight in step.weights.items()}
        else:
            self._follow(self._objective.gradients(step))
        # What the optimizer moves at rate 1: every one of ours is linear in its rate, AdamW's decay included.
        moved = self._optimizer.updated(step.weights, step.gradients, torch.ones_like(self._start))
        self._directions = {name: weight - moved[name] for name, weight in step.weights.items()}
        new = {name: weight - self._rates[name] * self._directions[name] for name, weight in step.weights.items()}
        return new, self._mean_rates(step.weights)

    def _follow(self, gradients: Mapping[str, Tensor]) -> None:
        match self._per:
            case "run":
                product = inner_products(gradients, self._directions)
                products = {name: spread(product, gradient) for name, gradient in gradients.items()}
            case "tensor":
                products = {
                    name: spread(rows(gradient * self._directions[name]).sum(1), gradient)
                    for name, gradient in gradients.items()
                }
            case "parameter":
                products = {name: gradient * self._directions[name] for name, gradient in gradients.items()}
        self._rates = {name: rate + spread(self._betas, rate) * products[name] for name, rate in self._rates.items()}

    def _mean_rates(self, weights: Mapping[str, Tensor]) -> Tensor:
        """Return the mean rate of a weight, (n,)."""
        shares = {name: weight[0].numel() for name, weight in weights.items()}
        sums = [rows(self._rates[name]).double().mean(1) * share for name, share in shares.items()]
        return torch.stack(sums).sum(0) / sum(shares.values())
