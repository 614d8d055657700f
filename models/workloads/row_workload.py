"""A workload made of two functions, fresh weights and the loss of a batch, and of rows of data in three splits."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from greedylr.workload import Split, WorkloadDescriptors
from models.workloads.batch_noise import Noise
from models.workloads.row_batches import RowBatches
from models.workloads.step_generator import step_generator

Weights = dict[str, Tensor]


@dataclass(frozen=True, kw_only=True, eq=False)
class SplitRows:
    """Data of which each row is an example, and which rows each split holds.

    Parameters
    ----------
    columns
        Tensors of n_rows rows each.
    rows
        "training", "selection" and "reporting": places of rows, int64.
    """

    columns: tuple[Tensor, ...]
    rows: Mapping[str, Tensor]

    def of(self, split: str) -> tuple[Tensor, ...]:
        """Return the rows of a split."""
        return tuple(column[self.rows[split]] for column in self.columns)

    def to(self, device: str) -> SplitRows:
        """Return the same on a device."""
        rows = {split: places.to(device) for split, places in self.rows.items()}
        return SplitRows(columns=tuple(column.to(device) for column in self.columns), rows=rows)


class RowWorkload:
    """One training on rows; `rows` says which of them each split holds.

    Parameters
    ----------
    descriptors
        What is known of it.
    seed
        Fixes initial weights, batches and noise.
    device
        A torch device.
    data
        The rows.
    initial
        generator -> fresh weights, on the CPU, so that a seed means the same weights on every device.
    loss
        (weights, *columns of a batch) -> the mean loss of its rows, each row with the same weight.
    noise
        Added to training batches, never to what is evaluated.
    replacement
        Whether the rows of a batch are drawn with replacement; else each epoch takes every row once.
    evaluated_at_once
        Rows of a split whose loss is taken at once, >= 1; None is a batch. More is faster, and needs more memory: for
        each row of each replica the activations are held.
    """

    batched = True

    def __init__(
        self,
        descriptors: WorkloadDescriptors,
        seed: int,
        device: str,
        data: SplitRows,
        *,
        initial: Callable[[torch.Generator], Weights],
        loss: Callable[..., Tensor],
        noise: Noise | None = None,
        replacement: bool = False,
        evaluated_at_once: int | None = None,
    ) -> None:
        self.descriptors = descriptors
        self.seed = seed
        self.device = device
        data = data.to(device)
        self.rows = data.rows
        self._splits = {split: data.of(split) for split in data.rows}
        self._initial = initial
        self._loss = loss
        self._noise = noise
        self._evaluated_at_once = evaluated_at_once or descriptors.batch_size
        self._batches = RowBatches(
            seed,
            n_rows=len(self.rows["training"]),
            batch_size=descriptors.batch_size,
            device=device,
            replacement=replacement,
        )

    def parameters(self) -> Weights:
        """Return fresh weights."""
        weights = self._initial(torch.Generator().manual_seed(self.seed))
        return {name: weight.to(self.device) for name, weight in weights.items()}

    def batch(self, step: int) -> tuple[Tensor, ...]:
        """Return the columns of `batch_size` rows."""
        places = self._batches.rows(step)
        columns = tuple(column[places] for column in self._splits["training"])
        return columns if self._noise is None else self._noise(columns, step_generator(self.seed, step, "noise"))

    def training_loss(self, parameters: Mapping[str, Tensor], batch: tuple[Tensor, ...]) -> Tensor:
        """Return the mean loss of a batch."""
        return self._loss(parameters, *batch)

    def evaluate(self, parameters: Mapping[str, Tensor], split: Split) -> Tensor:
        """Return the mean loss on a split, taken a part at a time: many replicas at once would not fit otherwise."""
        columns, n_rows = self._splits[split], len(self.rows[split])
        parts = zip(*(torch.split(column, self._evaluated_at_once) for column in columns), strict=True)
        losses = [self._loss(parameters, *part) * (len(part[0]) / n_rows) for part in parts]
        return torch.stack(losses).sum()

    def project(self, parameters: Weights) -> Weights:
        """Return the weights as they are."""
        return parameters
