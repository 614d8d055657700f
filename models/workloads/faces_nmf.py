"""Non-negative matrix factorisation of faces: with batches of single entries, and with one whole factor in turn."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from greedylr.workload import WorkloadDescriptors
from models.workloads.factorisation import Factorisation
from models.workloads.factorisation_steps import AlternatingSteps, EntrySteps
from models.workloads.held_out_entries import HeldOutEntries
from models.workloads.reference_workload import ReferenceWorkload

DATASET = "orl_faces"
POOLED = 8  # pixels a side of what becomes one
RANK = 10
SPLIT_SEED = 23

ENTRIES = WorkloadDescriptors(
    name="faces-nmf",
    family="orl-faces",
    task="matrix factorisation",
    momentum=0.0,
    total_steps=400,
    batch_size=2000,
    usual_learning_rate=50.0,
    largest_stable_learning_rate=50.0,
)
ALTERNATING = WorkloadDescriptors(
    name="faces-nmf-alternating",
    family="orl-faces",
    task="matrix factorisation",
    momentum=0.0,
    total_steps=300,
    batch_size=398,
    usual_learning_rate=70.0,
    largest_stable_learning_rate=70.0,
)


def faces_nmf(seed: int, device: str, data: Mapping[str, NDArray[Any]]) -> Factorisation:
    """Return the factorisation with batches of entries; `data` holds `faces` (398, 112, 92) in 0 .. 255."""
    matrix = HeldOutEntries(pooled_faces(data), np.random.default_rng(SPLIT_SEED), device)
    steps = EntrySteps(matrix, seed=seed, batch_size=ENTRIES.batch_size, device=device)
    return Factorisation(ENTRIES, matrix, steps, rank=RANK, seed=seed, device=device)


def alternating_faces_nmf(seed: int, device: str, data: Mapping[str, NDArray[Any]]) -> Factorisation:
    """Return the one that moves all of one factor at a time, where the bound of `models.nmf.alternating` is exact."""
    matrix = HeldOutEntries(pooled_faces(data), np.random.default_rng(SPLIT_SEED), device)
    return Factorisation(
        ALTERNATING, matrix, AlternatingSteps(matrix, seed=seed, device=device), rank=RANK, seed=seed, device=device
    )


def pooled_faces(data: Mapping[str, NDArray[Any]]) -> NDArray[np.float32]:
    """Return thumbnails of 14 x 11 pixels in [0, 1], (n, 154): two columns at either side are left out."""
    faces = data["faces"][:, :, 2:-2].astype(np.float32) / 255
    n_faces, height, width = faces.shape
    blocks = faces.reshape(n_faces, height // POOLED, POOLED, width // POOLED, POOLED)
    return np.asarray(blocks.mean(axis=(2, 4)).reshape(n_faces, -1))


REFERENCES = (
    ReferenceWorkload(make=faces_nmf, dataset=DATASET, descriptors=ENTRIES, parameters=5_520),
    ReferenceWorkload(make=alternating_faces_nmf, dataset=DATASET, descriptors=ALTERNATING, parameters=5_520),
)
