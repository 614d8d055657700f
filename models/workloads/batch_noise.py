"""Noise that is added to a batch as it is drawn: what it does to a batch is a function of the generator alone."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.functional import one_hot

Columns = tuple[Tensor, ...]
Noise = Callable[[Columns, torch.Generator], Columns]
"""(columns of a batch, generator on the CPU) -> the columns with noise."""


def wrong_labels(share: float) -> Noise:
    """Return noise on inputs and one-hot labels: with probability `share` a row's label is drawn from all classes."""

    def noise(columns: Columns, generator: torch.Generator) -> Columns:
        inputs, labels = columns
        n_rows, n_classes = labels.shape
        drawn = one_hot(torch.randint(n_classes, (n_rows,), generator=generator), n_classes)
        replaced = torch.rand(n_rows, 1, generator=generator) < share
        return inputs, torch.where(replaced.to(labels.device), drawn.to(labels.device, labels.dtype), labels)

    return noise


def blurred_inputs(deviation: float) -> Noise:
    """Return noise on inputs and targets: a normal number of standard deviation `deviation` is added to each input."""

    def noise(columns: Columns, generator: torch.Generator) -> Columns:
        inputs, targets = columns
        drawn = torch.randn(inputs.shape, generator=generator) * deviation
        return inputs + drawn.to(inputs.device, inputs.dtype), targets

    return noise
