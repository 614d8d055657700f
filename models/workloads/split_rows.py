"""Which rows of a table are trained on, which select a rate, and which report the result."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

SPLIT_SEED = 20  # one split for all seeds: a seed draws weights and batches, not the question


def split_rows(n_rows: int, *, selection: int, reporting: int) -> dict[str, Tensor]:
    """Return the rows of "selection", "reporting" and "training" (the rest), int64, in random order.

    Raises
    ------
    ValueError
        If nothing is left to train on.
    """
    held_out = selection + reporting
    if not 0 < held_out < n_rows:
        raise ValueError(
            f"selection and reporting must leave rows to train on, got {selection} and {reporting} of {n_rows} rows"
        )
    order = torch.from_numpy(np.random.default_rng(SPLIT_SEED).permutation(n_rows))
    return {
        "selection": order[:selection],
        "reporting": order[selection:held_out],
        "training": order[held_out:],
    }
