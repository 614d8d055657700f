"""Reviews as rows of word buckets with a label: cut to a length, hashes cut down to buckets, split by review."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from models.workloads.row_workload import SplitRows
from models.workloads.split_rows import split_rows

PADDING = 0


def hashed_reviews(data: Mapping[str, NDArray[Any]], *, length: int, buckets: int, held_out: int) -> SplitRows:
    """Return words (n_reviews, length) in 1 .. buckets, PADDING after the end of a review, and labels (n_reviews,).

    Parameters
    ----------
    data
        `words` (n_reviews, >= length), hashes with 0 for no word, and `labels` (n_reviews,) of 0 and 1.
    held_out
        Number of reviews in each of the two evaluation splits.

    Raises
    ------
    ValueError
        If the data hold no such words.
    """
    words = data.get("words")
    if words is None or words.ndim != 2 or words.shape[1] < length:
        shape = None if words is None else words.shape
        raise ValueError(
            f"the data must hold 'words' of at least {length} columns, got {shape}; prepare a set of words"
        )
    hashes = torch.from_numpy(words[:, :length].astype(np.int64))
    return SplitRows(
        columns=(
            torch.where(hashes == 0, PADDING, 1 + hashes % buckets),
            torch.from_numpy(data["labels"].astype(np.int64)),
        ),
        rows=split_rows(len(words), selection=held_out, reporting=held_out),
    )


def bucket_counts(words: Tensor, buckets: int, dtype: torch.dtype) -> Tensor:
    """Return how often each bucket occurs in rows of words, (n_rows, length) -> (n_rows, buckets)."""
    counts = torch.zeros(len(words), 1 + buckets, dtype=dtype, device=words.device)
    return counts.scatter_add(1, words, torch.ones_like(words, dtype=dtype))[:, 1:]
