"""Stochastic non-negative matrix factorisation of MNIST digits: V ~ W H, a batch of rows a step.

Each row of V (a digit) has a row of W of its own, so held-out data are entries, not rows: of the pixels of every digit
a tenth is kept for selection, a tenth for reporting, and the factors are fitted to the rest.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from greedylr.workload import Split, WorkloadDescriptors
from models.workloads.digit_images import DATASET, pooled_digits
from models.workloads.reference_workload import ReferenceWorkload
from models.workloads.row_batches import RowBatches

ROWS = 400
RANK = 10
HELD_OUT = 0.1  # share of the entries in each of the two held-out splits
SPLIT_SEED = 21

DESCRIPTORS = WorkloadDescriptors(
    name="digits-nmf",
    family="mnist-digits",
    task="matrix factorisation",
    momentum=0.9,
    total_steps=300,
    batch_size=40,
    usual_learning_rate=15.0,
)


class DigitsNMF:
    """One factorisation; `entries` are the masks of the splits, (n_rows, n_pixels).

    The loss is the squared error an entry over the mean square of V: 1 for a product of zero.

    Parameters
    ----------
    seed
        Fixes initial factors and batches.
    device
        A torch device.
    data
        `images` (n, 784) in 0 .. 255, n >= 400.
    """

    batched = True

    def __init__(self, seed: int, device: str, data: Mapping[str, NDArray[Any]]) -> None:
        self.descriptors = DESCRIPTORS
        self.seed = seed
        self.device = device
        generator = np.random.default_rng(SPLIT_SEED)
        digits = pooled_digits(data)
        digits = digits[generator.permutation(len(digits))[:ROWS]]
        draw = generator.random(digits.shape)
        masks = {
            "selection": draw < HELD_OUT,
            "reporting": (draw >= HELD_OUT) & (draw < 2 * HELD_OUT),
            "training": draw >= 2 * HELD_OUT,
        }
        self.digits = torch.from_numpy(digits).to(device)
        self.entries = {name: torch.from_numpy(mask).to(device) for name, mask in masks.items()}
        self._weights = {name: mask.to(self.digits.dtype) for name, mask in self.entries.items()}
        self._scale = float(1 / (digits**2).mean())
        # A product of the initial factors is as bright as the mean pixel.
        self._initial_scale = 2 * math.sqrt(float(digits.mean()) / RANK)
        self._batches = RowBatches(seed, n_rows=len(digits), batch_size=DESCRIPTORS.batch_size, device=device)

    def parameters(self) -> dict[str, Tensor]:
        """Return factors drawn uniformly from [0, scale]."""
        generator = torch.Generator().manual_seed(self.seed)
        n_rows, n_pixels = self.digits.shape
        loadings = torch.rand(n_rows, RANK, generator=generator) * self._initial_scale
        parts = torch.rand(RANK, n_pixels, generator=generator) * self._initial_scale
        return {"loadings": loadings.to(self.device), "parts": parts.to(self.device)}

    def batch(self, step: int) -> tuple[Tensor, Tensor, Tensor]:
        """Return rows (40,), their digits and their training entries, (40, n_pixels) each."""
        rows = self._batches.rows(step)
        return rows, self.digits[rows], self._weights["training"][rows]

    def training_loss(self, parameters: Mapping[str, Tensor], batch: tuple[Tensor, Tensor, Tensor]) -> Tensor:
        """Return the normalised squared error an entry of the training entries of a batch."""
        rows, digits, weights = batch
        product = parameters["loadings"].index_select(0, rows) @ parameters["parts"]
        return self._error(product, digits, weights)

    def evaluate(self, parameters: Mapping[str, Tensor], split: Split) -> Tensor:
        """Return the normalised squared error an entry of a split."""
        product = parameters["loadings"] @ parameters["parts"]
        return self._error(product, self.digits, self._weights[split])

    def project(self, parameters: dict[str, Tensor]) -> dict[str, Tensor]:
        """Return the factors with negative entries set to zero."""
        return {name: factor.clamp_min(0) for name, factor in parameters.items()}

    def _error(self, product: Tensor, digits: Tensor, weights: Tensor) -> Tensor:
        weights = weights.to(product.dtype)
        residual = (product - digits.to(product.dtype)) * weights
        return residual.square().sum() * (self._scale / weights.sum())


REFERENCES = (ReferenceWorkload(make=DigitsNMF, dataset=DATASET, descriptors=DESCRIPTORS, parameters=5_960),)
