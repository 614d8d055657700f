"""Networks of dense layers that read MNIST digits: a small one, one whose labels are partly wrong, and a wide one."""

from __future__ import annotations

from dataclasses import replace

from greedylr.workload import WorkloadDescriptors
from models.workloads.batch_noise import wrong_labels
from models.workloads.cross_entropy import one_hot_cross_entropy
from models.workloads.dense_network import DenseNetwork
from models.workloads.digit_images import (
    ALL_DATASET,
    CLASSES,
    DATASET,
    FAMILY,
    FULL_PIXELS,
    PIXELS,
    full_digit_table,
    pooled_digit_table,
)
from models.workloads.table_training import TableTraining

MNIST_MLP = TableTraining(
    descriptors=WorkloadDescriptors(
        name="mnist-mlp",
        family=FAMILY,
        task="image classification",
        momentum=0.9,
        total_steps=300,
        batch_size=32,
        usual_learning_rate=0.15,
    ),
    table=pooled_digit_table,
    network=DenseNetwork((PIXELS, 32, CLASSES)),
    loss=one_hot_cross_entropy,
)

# The labels are wrong in training only, and others at each step: noise that no number of epochs can learn.
WRONG_LABELS = TableTraining(
    descriptors=WorkloadDescriptors(
        name="mnist-wrong-labels",
        family=FAMILY,
        task="image classification",
        momentum=0.0,
        total_steps=400,
        batch_size=16,
        usual_learning_rate=0.3,
    ),
    table=pooled_digit_table,
    network=DenseNetwork((PIXELS, 24, CLASSES)),
    loss=one_hot_cross_entropy,
    noise=wrong_labels(0.2),
    replacement=True,
)

LARGE = TableTraining(
    descriptors=replace(
        MNIST_MLP.descriptors,
        name="mnist-mlp-large",
        total_steps=3000,
        batch_size=256,
        usual_learning_rate=0.1,
    ),
    table=full_digit_table,
    network=DenseNetwork((FULL_PIXELS, 512, 512, CLASSES)),
    loss=one_hot_cross_entropy,
    evaluated_at_once=None,
)

REFERENCES = (
    MNIST_MLP.reference(dataset=DATASET, parameters=6_634),
    WRONG_LABELS.reference(dataset=DATASET, parameters=4_978),
    LARGE.reference(dataset=ALL_DATASET, parameters=669_706, size="large"),
)
