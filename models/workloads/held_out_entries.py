"""A matrix whose entries are split: most are fitted, a tenth each selects and reports.

Each row of the matrix has a row of its own in one of the factors, so held-out data are entries, not rows.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from greedylr.workload import Split

HELD_OUT = 0.1  # share of the entries in each of the two held-out splits


class HeldOutEntries:
    """The matrix, the masks of its splits, and the error of a product.

    Parameters
    ----------
    values
        (n_rows, n_columns), non-negative, float32.
    generator
        Draws the splits.
    device
        A torch device.
    """

    def __init__(self, values: NDArray[np.float32], generator: np.random.Generator, device: str) -> None:
        draw = generator.random(values.shape)
        masks = {
            "selection": draw < HELD_OUT,
            "reporting": (draw >= HELD_OUT) & (draw < 2 * HELD_OUT),
            "training": draw >= 2 * HELD_OUT,
        }
        self.values = torch.from_numpy(values).to(device)
        self.masks = {name: torch.from_numpy(mask).to(device) for name, mask in masks.items()}
        self.weights = {name: mask.to(self.values.dtype) for name, mask in self.masks.items()}
        self.n_training = int(masks["training"].sum())
        fitted = values[masks["training"]]
        self.training_mean = float(fitted.mean())
        #: Multiplies a squared error: 1 over the mean square of what is fitted, so that a product of 0 has the loss 1.
        self.scale = float(1 / (fitted**2).mean())

    def error(self, product: Tensor, values: Tensor, weights: Tensor) -> Tensor:
        """Return the scaled mean squared error of a product over the entries with weight 1."""
        weights = weights.to(product.dtype)
        residual = (product - values.to(product.dtype)) * weights
        return residual.square().sum() * (self.scale / weights.sum())

    def evaluate(self, parameters: Mapping[str, Tensor], split: Split) -> Tensor:
        """Return the error on a split."""
        return self.error(parameters["loadings"] @ parameters["parts"], self.values, self.weights[split])
