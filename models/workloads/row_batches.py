"""Batches of rows as a pure function of seed and step: each epoch is a fresh permutation."""

from __future__ import annotations

import torch
from torch import Tensor


class RowBatches:
    """The rows of each step's batch; a rest of the epoch that fills no batch is left out.

    Parameters
    ----------
    seed
        Fixes all permutations.
    n_rows, batch_size
        Number of rows, and rows a batch; n_rows >= batch_size.
    device
        Where the indices are wanted.
    """

    def __init__(self, seed: int, *, n_rows: int, batch_size: int, device: str) -> None:
        if not 1 <= batch_size <= n_rows:
            raise ValueError(f"batch_size must lie in 1 .. n_rows = {n_rows}, got {batch_size}")
        self.seed = seed
        self.n_rows = n_rows
        self.batch_size = batch_size
        self.device = device
        self._epoch = -1
        self._order = torch.empty(0, dtype=torch.int64)

    def rows(self, step: int) -> Tensor:
        """Return the rows of a step, shape (batch_size,), int64."""
        epoch, place = divmod(step, self.n_rows // self.batch_size)
        if epoch != self._epoch:
            # Drawn on the CPU, so that a seed means the same batches on every device.
            generator = torch.Generator().manual_seed(self.seed * 1_000_003 + epoch)
            self._order = torch.randperm(self.n_rows, generator=generator).to(self.device)
            self._epoch = epoch
        return self._order[place * self.batch_size : (place + 1) * self.batch_size]
