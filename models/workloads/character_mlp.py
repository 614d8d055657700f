"""A neural language model of the old kind (Bengio et al. 2003): an MLP on the embeddings of the last characters."""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import partial
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import embedding

from greedylr.workload import WorkloadDescriptors
from models.workloads.character_windows import character_windows
from models.workloads.cross_entropy import class_cross_entropy
from models.workloads.reference_workload import ReferenceWorkload
from models.workloads.row_workload import RowWorkload, Weights

CONTEXT = 6
EMBEDDING = 8
HIDDEN = 48
EVALUATION_WINDOWS = 1000
EVALUATED_AT_ONCE = 500

DESCRIPTORS = WorkloadDescriptors(
    name="python-mlp",
    family="python-source",
    task="language modelling",
    momentum=0.9,
    nesterov=True,
    total_steps=400,
    batch_size=64,
    usual_learning_rate=0.3,
)


def mlp_loss(weights: Mapping[str, Tensor], windows: Tensor) -> Tensor:
    """Return the mean cross-entropy of the last character of windows (n, CONTEXT + 1), given the others."""
    characters = windows.long()
    features = embedding(characters[:, :-1], weights["embedding"]).flatten(1)
    hidden = torch.tanh(features @ weights["hidden"] + weights["hidden_bias"])
    return class_cross_entropy(hidden @ weights["output"] + weights["output_bias"], characters[:, -1])


def python_mlp(seed: int, device: str, data: Mapping[str, NDArray[Any]]) -> RowWorkload:
    """Return the training on Python's source."""
    windows = character_windows(data, length=CONTEXT + 1, evaluation_windows=EVALUATION_WINDOWS)
    initial = partial(initial_weights, n_letters=len(data["alphabet"]))
    return RowWorkload(
        DESCRIPTORS, seed, device, windows, initial=initial, loss=mlp_loss, evaluated_at_once=EVALUATED_AT_ONCE
    )


def initial_weights(generator: torch.Generator, *, n_letters: int) -> Weights:
    """Return fresh weights; the small last ones make the first guess even."""
    features = CONTEXT * EMBEDDING
    return {
        "embedding": torch.randn(n_letters, EMBEDDING, generator=generator),
        "hidden": torch.randn(features, HIDDEN, generator=generator) / math.sqrt(features),
        "hidden_bias": torch.zeros(HIDDEN),
        "output": torch.randn(HIDDEN, n_letters, generator=generator) * (0.1 / math.sqrt(HIDDEN)),
        "output_bias": torch.zeros(n_letters),
    }


REFERENCES = (
    ReferenceWorkload(make=python_mlp, dataset="python_characters", descriptors=DESCRIPTORS, parameters=7_824),
)
