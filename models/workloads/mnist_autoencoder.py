"""Autoencoders of MNIST digits with Adam: each digit through a bottleneck and back, a Bernoulli loss a pixel."""

from __future__ import annotations

from dataclasses import replace

from greedylr.workload import WorkloadDescriptors
from models.workloads.cross_entropy import binary_cross_entropy
from models.workloads.dense_network import DenseNetwork
from models.workloads.digit_images import (
    ALL_DATASET,
    DATASET,
    FAMILY,
    FULL_PIXELS,
    PIXELS,
    Arrays,
    full_digit_table,
    pooled_digit_table,
    reconstruction,
)
from models.workloads.row_workload import SplitRows
from models.workloads.table_training import TableTraining


def _pooled(data: Arrays) -> SplitRows:
    return reconstruction(pooled_digit_table(data))


def _full(data: Arrays) -> SplitRows:
    return reconstruction(full_digit_table(data))


MNIST_AUTOENCODER = TableTraining(
    descriptors=WorkloadDescriptors(
        name="mnist-autoencoder",
        family=FAMILY,
        task="image reconstruction",
        optimizer="adam",
        total_steps=400,
        batch_size=16,
        usual_learning_rate=0.03,
    ),
    table=_pooled,
    network=DenseNetwork((PIXELS, 16, 8, 16, PIXELS)),
    loss=binary_cross_entropy,
)

LARGE = TableTraining(
    descriptors=replace(
        MNIST_AUTOENCODER.descriptors,
        name="mnist-autoencoder-large",
        total_steps=3000,
        batch_size=256,
        usual_learning_rate=0.001,
    ),
    table=_full,
    network=DenseNetwork((FULL_PIXELS, 512, 128, 16, 128, 512, FULL_PIXELS)),
    loss=binary_cross_entropy,
    evaluated_at_once=None,
)

REFERENCES = (
    MNIST_AUTOENCODER.reference(dataset=DATASET, parameters=6_764),
    LARGE.reference(dataset=ALL_DATASET, parameters=940_064, size="large"),
)
