"""A review's label from a transformer: small on one-sentence reviews, large on the beginnings of long ones."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from numpy.typing import NDArray
from torch import Tensor

from greedylr.workload import WorkloadDescriptors
from models.workloads.cross_entropy import binary_cross_entropy
from models.workloads.hashed_reviews import PADDING, hashed_reviews
from models.workloads.reference_workload import ReferenceWorkload
from models.workloads.row_workload import RowWorkload
from models.workloads.transformer import TransformerSize, transformed, transformer_weights


def transformer_loss(
    weights: Mapping[str, Tensor], words: Tensor, labels: Tensor, *, network: TransformerSize
) -> Tensor:
    """Return the mean cross-entropy of labels (n,) given words (n, length); the features of the words are averaged."""
    padding = words == PADDING
    zero = weights["output"].new_zeros(())
    mask = zero.where(~padding, -math.inf)[:, None, None, :]
    features = transformed(weights, network, words, mask)
    present = (~padding).to(features.dtype)
    shares = present / present.sum(-1, keepdim=True)
    review = (shares.unsqueeze(1) @ features).squeeze(1)
    return binary_cross_entropy((review @ weights["output"]).squeeze(-1), labels)


@dataclass(frozen=True, kw_only=True)
class ReviewTransformer:
    """How a transformer is trained on reviews; called with seed, device and data it makes the workload.

    Parameters
    ----------
    descriptors
        Of the workload.
    network
        What is trained.
    words, buckets, held_out
        As `length`, `buckets` and `held_out` of `hashed_reviews`.
    """

    descriptors: WorkloadDescriptors
    network: TransformerSize
    words: int
    buckets: int
    held_out: int

    def __call__(self, seed: int, device: str, data: Mapping[str, NDArray[Any]]) -> RowWorkload:
        """Return one training."""
        return RowWorkload(
            self.descriptors,
            seed,
            device,
            hashed_reviews(data, length=self.words, buckets=self.buckets, held_out=self.held_out),
            initial=partial(
                transformer_weights, self.network, n_tokens=1 + self.buckets, context=self.words, n_outputs=1
            ),
            loss=partial(transformer_loss, network=self.network),
        )


ROTTEN_TOMATOES_TRANSFORMER = ReviewTransformer(
    descriptors=WorkloadDescriptors(
        name="rotten-tomatoes-transformer",
        family="rotten-tomatoes-reviews",
        task="text classification",
        optimizer="adamw",
        weight_decay=0.01,
        max_gradient_norm=1.0,
        total_steps=300,
        batch_size=32,
        usual_learning_rate=0.01,
    ),
    network=TransformerSize(width=16, hidden=32, layers=1, heads=2),
    words=24,
    buckets=4096,
    held_out=512,
)

# On IMDB, as it would learn the few sentences of Rotten Tomatoes by heart.
IMDB_TRANSFORMER = ReviewTransformer(
    descriptors=WorkloadDescriptors(
        name="imdb-transformer-large",
        family="imdb-reviews",
        task="text classification",
        optimizer="adamw",
        weight_decay=0.1,
        max_gradient_norm=1.0,
        total_steps=600,
        batch_size=32,
        usual_learning_rate=3e-4,
    ),
    network=TransformerSize(width=256, hidden=1024, layers=4, heads=8),
    words=192,
    buckets=8192,
    held_out=256,
)

REFERENCES = (
    ReferenceWorkload(
        make=ROTTEN_TOMATOES_TRANSFORMER,
        dataset="rotten_tomatoes_words",
        descriptors=ROTTEN_TOMATOES_TRANSFORMER.descriptors,
        parameters=68_048,
    ),
    ReferenceWorkload(
        make=IMDB_TRANSFORMER,
        dataset="imdb_words",
        descriptors=IMDB_TRANSFORMER.descriptors,
        parameters=5_294_848,
        size="large",
    ),
)
