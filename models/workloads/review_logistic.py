"""Logistic regression of a review's label on its counts of word buckets; convex."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import normalize

from greedylr.workload import WorkloadDescriptors
from models.workloads.cross_entropy import binary_cross_entropy
from models.workloads.hashed_reviews import bucket_counts, hashed_reviews
from models.workloads.reference_workload import ReferenceWorkload
from models.workloads.row_workload import RowWorkload, Weights

WORDS = 40
BUCKETS = 4096
HELD_OUT = 1000
INITIAL_SCALE = 0.01

DESCRIPTORS = WorkloadDescriptors(
    name="rotten-tomatoes-logistic",
    family="rotten-tomatoes-reviews",
    task="text classification",
    momentum=0.9,
    total_steps=300,
    batch_size=32,
    usual_learning_rate=3.0,
)


def logistic_loss(weights: Mapping[str, Tensor], words: Tensor, labels: Tensor) -> Tensor:
    """Return the mean cross-entropy of labels (n,) given words (n, WORDS); counts are scaled to norm 1 a review."""
    counts = normalize(bucket_counts(words, BUCKETS, weights["weight"].dtype), dim=-1)
    return binary_cross_entropy(counts @ weights["weight"] + weights["bias"], labels)


def rotten_tomatoes_logistic(seed: int, device: str, data: Mapping[str, NDArray[Any]]) -> RowWorkload:
    """Return the training on one-sentence reviews."""
    reviews = hashed_reviews(data, length=WORDS, buckets=BUCKETS, held_out=HELD_OUT)
    return RowWorkload(
        DESCRIPTORS, seed, device, reviews, initial=initial_weights, loss=logistic_loss, evaluated_at_once=HELD_OUT
    )


def initial_weights(generator: torch.Generator) -> Weights:
    """Return fresh weights, near those of an even guess."""
    return {"weight": torch.randn(BUCKETS, generator=generator) * INITIAL_SCALE, "bias": torch.zeros(())}


REFERENCES = (
    ReferenceWorkload(
        make=rotten_tomatoes_logistic, dataset="rotten_tomatoes_words", descriptors=DESCRIPTORS, parameters=4_097
    ),
)
