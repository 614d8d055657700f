"""Batches of rows as a pure function of seed and step."""

from __future__ import annotations

import torch
from torch import Tensor

from models.workloads.step_generator import step_generator


class RowBatches:
    """The rows of each step's batch.

    Without replacement each epoch is a fresh permutation, and a rest of it that fills no batch is left out; with
    replacement every row of every step is drawn anew from all of them.

    Parameters
    ----------
    seed
        Fixes all draws.
    n_rows, batch_size
        Number of rows, and rows a batch; n_rows >= batch_size.
    device
        Where the indices are wanted.
    replacement
        Whether rows are drawn with replacement.
    """

    def __init__(self, seed: int, *, n_rows: int, batch_size: int, device: str, replacement: bool = False) -> None:
        if not 1 <= batch_size <= n_rows:
            raise ValueError(f"batch_size must lie in 1 .. n_rows = {n_rows}, got {batch_size}")
        self.seed = seed
        self.n_rows = n_rows
        self.batch_size = batch_size
        self.device = device
        self.replacement = replacement
        self._epoch = -1
        self._order = torch.empty(0, dtype=torch.int64)

    def rows(self, step: int) -> Tensor:
        """Return the rows of a step, shape (batch_size,), int64."""
        if self.replacement:
            generator = step_generator(self.seed, step, "rows")
            return torch.randint(self.n_rows, (self.batch_size,), generator=generator).to(self.device)
        epoch, place = divmod(step, self.n_rows // self.batch_size)
        if epoch != self._epoch:
            generator = step_generator(self.seed, epoch, "epochs")
            self._order = torch.randperm(self.n_rows, generator=generator).to(self.device)
            self._epoch = epoch
        return self._order[place * self.batch_size : (place + 1) * self.batch_size]
