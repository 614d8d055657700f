"""Non-negative matrix factorisation of word counts: topics of Reuters articles, a batch of articles a step.

Plain SGD with clipped gradients, from factors that are too large: the first steps would overshoot without clipping. The
large one has weight decay, without which fifty topics fit the noise of rare words.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from greedylr.workload import WorkloadDescriptors
from models.workloads.factorisation import Factorisation
from models.workloads.factorisation_steps import RowSteps
from models.workloads.held_out_entries import HeldOutEntries
from models.workloads.reference_workload import ReferenceWorkload

DATASET = "reuters_counts"
SPLIT_SEED = 22
BRIGHTNESS = 4.0


@dataclass(frozen=True, kw_only=True)
class ReutersNMF:
    """A factorisation of the most frequent `words` with `topics` of them."""

    descriptors: WorkloadDescriptors
    words: int
    topics: int

    def __call__(self, seed: int, device: str, data: Mapping[str, NDArray[Any]]) -> Factorisation:
        """Return it; `data` holds `counts` (395, 4258), most frequent word first."""
        counts = data["counts"][:, : self.words].astype(np.float32)
        matrix = HeldOutEntries(counts, np.random.default_rng(SPLIT_SEED), device)
        steps = RowSteps(matrix, seed=seed, batch_size=self.descriptors.batch_size, device=device)
        return Factorisation(
            self.descriptors, matrix, steps, rank=self.topics, brightness=BRIGHTNESS, seed=seed, device=device
        )


SMALL = ReutersNMF(
    descriptors=WorkloadDescriptors(
        name="reuters-nmf",
        family="reuters",
        task="matrix factorisation",
        momentum=0.0,
        max_gradient_norm=0.05,
        total_steps=400,
        batch_size=40,
        usual_learning_rate=100.0,
        largest_stable_learning_rate=26.0,
    ),
    words=500,
    topics=10,
)
LARGE = ReutersNMF(
    descriptors=replace(
        SMALL.descriptors,
        name="reuters-nmf-large",
        weight_decay=1e-4,
        total_steps=1500,
        largest_stable_learning_rate=18.0,
    ),
    words=4258,
    topics=50,
)

REFERENCES = (
    ReferenceWorkload(make=SMALL, dataset=DATASET, descriptors=SMALL.descriptors, parameters=8_950),
    ReferenceWorkload(make=LARGE, dataset=DATASET, descriptors=LARGE.descriptors, parameters=232_650, size="large"),
)
