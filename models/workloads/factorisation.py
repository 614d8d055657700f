"""Non-negative matrix factorisation as a workload: V ~ W H, projected gradient steps, entries held out."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from greedylr.workload import Split, WorkloadDescriptors
from models.nmf.alternating import careful_descent
from models.workloads.factorisation_steps import FactorisationSteps
from models.workloads.held_out_entries import HeldOutEntries

# Sweeps of full gradients after which the spectral norms of the factors, all that the bound needs, hardly move.
SWEEPS = 30


class Factorisation:
    """One factorisation; `entries` are the masks of the splits, (n_rows, n_columns).

    The loss is the squared error an entry over the mean square of the training entries: 1 for a product of zero.

    Parameters
    ----------
    descriptors
        What is known of it.
    matrix
        V, and which of its entries are fitted.
    steps
        How a step is taken.
    rank
        Columns of W, rows of H.
    brightness
        Mean of the product of the initial factors, in multiples of that of the training entries.
    seed
        Fixes initial factors.
    device
        A torch device.
    """

    batched = True

    def __init__(
        self,
        descriptors: WorkloadDescriptors,
        matrix: HeldOutEntries,
        steps: FactorisationSteps,
        *,
        rank: int,
        brightness: float = 1.0,
        seed: int,
        device: str,
    ) -> None:
        self.descriptors = descriptors
        self.entries = matrix.masks
        self.seed = seed
        self.device = device
        self.matrix = matrix
        self._steps = steps
        self._rank = rank
        self._initial_scale = 2 * math.sqrt(brightness * matrix.training_mean / rank)

    def parameters(self) -> dict[str, Tensor]:
        """Return factors drawn uniformly from [0, scale]."""
        generator = torch.Generator().manual_seed(self.seed)
        n_rows, n_columns = self.matrix.values.shape
        loadings = torch.rand(n_rows, self._rank, generator=generator) * self._initial_scale
        parts = torch.rand(self._rank, n_columns, generator=generator) * self._initial_scale
        return {"loadings": loadings.to(self.device), "parts": parts.to(self.device)}

    def batch(self, step: int) -> tuple[Tensor, ...]:
        """Return the batch of a step."""
        return self._steps.batch(step)

    def training_loss(self, parameters: Mapping[str, Tensor], batch: Any) -> Tensor:
        """Return the normalised squared error an entry of the training entries of a batch."""
        return self._steps.loss(parameters, batch)

    def evaluate(self, parameters: Mapping[str, Tensor], split: Split) -> Tensor:
        """Return the normalised squared error an entry of a split."""
        return self.matrix.evaluate(parameters, split)

    def project(self, parameters: dict[str, Tensor]) -> dict[str, Tensor]:
        """Return the factors with negative entries set to zero."""
        return {name: factor.clamp_min(0) for name, factor in parameters.items()}

    def largest_stable_learning_rate(self) -> float:
        """Return the lower of the largest stable rates at the initial factors and at fitted ones.

        The fitted ones come from `careful_descent` on the training entries, not from a training: it takes milliseconds.
        """
        initial = self.parameters()
        loadings, parts = (initial[name].cpu().numpy().astype(np.float64) for name in ("loadings", "parts"))
        values, weights = (
            each.cpu().numpy().astype(np.float64) for each in (self.matrix.values, self.matrix.weights["training"])
        )
        fitted = careful_descent(values, loadings, parts, weights=weights, sweeps=SWEEPS)
        momentum = self.descriptors.momentum
        return min(
            self._steps.largest_stable_learning_rate(*factors, momentum) for factors in ((loadings, parts), fitted)
        )
