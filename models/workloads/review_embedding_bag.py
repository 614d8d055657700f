"""A review's label from the mean of its words' embeddings (Joulin et al. 2017, fastText), with a hidden layer."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor

from greedylr.workload import WorkloadDescriptors
from models.workloads.cross_entropy import binary_cross_entropy
from models.workloads.hashed_reviews import bucket_counts, hashed_reviews
from models.workloads.reference_workload import ReferenceWorkload
from models.workloads.row_workload import RowWorkload, Weights

WORDS = 128
BUCKETS = 1024
EMBEDDING = 8
HELD_OUT = 1000

DESCRIPTORS = WorkloadDescriptors(
    name="imdb-embedding-bag",
    family="imdb-reviews",
    task="text classification",
    optimizer="adam",
    total_steps=300,
    batch_size=32,
    usual_learning_rate=0.1,
)


def embedding_bag_loss(weights: Mapping[str, Tensor], words: Tensor, labels: Tensor) -> Tensor:
    """Return the mean cross-entropy of labels (n,) given words (n, WORDS)."""
    # The counts are the same for all replicas and made once a step; they stand on the right, where replicas multiply
    # them in one product of matrices.
    counts = bucket_counts(words, BUCKETS, weights["embedding"].dtype)
    bag = weights["embedding"] @ (counts / counts.sum(-1, keepdim=True)).T
    hidden = torch.relu(bag + weights["hidden_bias"].unsqueeze(-1))
    return binary_cross_entropy(weights["output"] @ hidden + weights["output_bias"], labels)


def imdb_embedding_bag(seed: int, device: str, data: Mapping[str, NDArray[Any]]) -> RowWorkload:
    """Return the training on the beginnings of long reviews."""
    reviews = hashed_reviews(data, length=WORDS, buckets=BUCKETS, held_out=HELD_OUT)
    return RowWorkload(
        DESCRIPTORS, seed, device, reviews, initial=initial_weights, loss=embedding_bag_loss, evaluated_at_once=HELD_OUT
    )


def initial_weights(generator: torch.Generator) -> Weights:
    """Return fresh weights."""
    return {
        "embedding": torch.randn(EMBEDDING, BUCKETS, generator=generator),
        "hidden_bias": torch.zeros(EMBEDDING),
        "output": torch.randn(EMBEDDING, generator=generator) / math.sqrt(EMBEDDING),
        "output_bias": torch.zeros(()),
    }


REFERENCES = (
    ReferenceWorkload(make=imdb_embedding_bag, dataset="imdb_words", descriptors=DESCRIPTORS, parameters=8_209),
)
