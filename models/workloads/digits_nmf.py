"""Stochastic non-negative matrix factorisation of MNIST digits: V ~ W H, a batch of rows a step, momentum."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from greedylr.workload import WorkloadDescriptors
from models.workloads.digit_images import DATASET, pooled_digits
from models.workloads.factorisation import Factorisation
from models.workloads.factorisation_steps import RowSteps
from models.workloads.held_out_entries import HeldOutEntries
from models.workloads.reference_workload import ReferenceWorkload

ROWS = 400
RANK = 10
SPLIT_SEED = 21

DESCRIPTORS = WorkloadDescriptors(
    name="digits-nmf",
    family="mnist-digits",
    task="matrix factorisation",
    momentum=0.9,
    total_steps=300,
    batch_size=40,
    usual_learning_rate=15.0,
    largest_stable_learning_rate=1.4,
)


def digits_nmf(seed: int, device: str, data: Mapping[str, NDArray[Any]]) -> Factorisation:
    """Return the factorisation of 400 digits of 196 pixels; `data` holds `images` (n, 784) in 0 .. 255, n >= 400."""
    generator = np.random.default_rng(SPLIT_SEED)
    digits = pooled_digits(data)
    matrix = HeldOutEntries(digits[generator.permutation(len(digits))[:ROWS]], generator, device)
    steps = RowSteps(matrix, seed=seed, batch_size=DESCRIPTORS.batch_size, device=device)
    return Factorisation(DESCRIPTORS, matrix, steps, rank=RANK, seed=seed, device=device)


REFERENCES = (ReferenceWorkload(make=digits_nmf, dataset=DATASET, descriptors=DESCRIPTORS, parameters=5_960),)
