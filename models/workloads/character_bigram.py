"""The smallest language model: a table of the logits of each character given the one before it; convex."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor

from greedylr.workload import WorkloadDescriptors
from models.workloads.character_windows import character_windows
from models.workloads.reference_workload import ReferenceWorkload
from models.workloads.row_workload import RowWorkload, Weights

WINDOW = 33
EVALUATION_WINDOWS = 256
INITIAL_SCALE = 0.01

DESCRIPTORS = WorkloadDescriptors(
    name="python-bigram",
    family="python-source",
    task="language modelling",
    momentum=0.0,
    total_steps=300,
    batch_size=8,
    usual_learning_rate=300.0,
)


def bigram_loss(weights: Mapping[str, Tensor], windows: Tensor) -> Tensor:
    """Return the mean cross-entropy of each character of windows (n, WINDOW) but the first, given the one before."""
    logits = weights["logits"]
    counts = pair_counts(windows.long(), len(logits), logits.dtype)
    return (counts.sum(1) @ logits.logsumexp(1) - (counts * logits).sum()) / counts.sum()


def pair_counts(windows: Tensor, n_letters: int, dtype: torch.dtype) -> Tensor:
    """Return how often each letter follows each, (n_letters, n_letters) by the one before and the one after.

    They are all that the loss knows of a batch, and the same for all replicas.
    """
    pairs = (windows[:, :-1] * n_letters + windows[:, 1:]).flatten()
    counts = torch.zeros(n_letters * n_letters, dtype=dtype, device=windows.device)
    return counts.scatter_add(0, pairs, torch.ones_like(pairs, dtype=dtype)).reshape(n_letters, n_letters)


def python_bigram(seed: int, device: str, data: Mapping[str, NDArray[Any]]) -> RowWorkload:
    """Return the training on Python's source."""
    windows = character_windows(data, length=WINDOW, evaluation_windows=EVALUATION_WINDOWS)
    initial = partial(initial_weights, n_letters=len(data["alphabet"]))
    return RowWorkload(
        DESCRIPTORS,
        seed,
        device,
        windows,
        initial=initial,
        loss=bigram_loss,
        evaluated_at_once=EVALUATION_WINDOWS,
    )


def initial_weights(generator: torch.Generator, *, n_letters: int) -> Weights:
    """Return fresh weights, near those of an even guess."""
    return {"logits": torch.randn(n_letters, n_letters, generator=generator) * INITIAL_SCALE}


REFERENCES = (
    ReferenceWorkload(make=python_bigram, dataset="python_characters", descriptors=DESCRIPTORS, parameters=9_216),
)
