"""Optical digits, 8 x 8 pixels: softmax regression with AdamW, and a small network with momentum and clipping."""

from __future__ import annotations

from greedylr.workload import WorkloadDescriptors
from models.workloads.cross_entropy import one_hot_cross_entropy
from models.workloads.dense_network import DenseNetwork
from models.workloads.standardised_table import standardised_table
from models.workloads.table_training import TableTraining

DATASET = "optical_digits"
FAMILY = "optical-digits"
TABLE = standardised_table(DATASET, "classes", selection=300, reporting=600)

SOFTMAX = TableTraining(
    descriptors=WorkloadDescriptors(
        name="optical-digits-softmax",
        family=FAMILY,
        task="image classification",
        optimizer="adamw",
        weight_decay=0.01,
        total_steps=250,
        batch_size=16,
        usual_learning_rate=0.03,
    ),
    table=TABLE,
    network=DenseNetwork((64, 10), output_scale=0.1),
    loss=one_hot_cross_entropy,
)

MLP = TableTraining(
    descriptors=WorkloadDescriptors(
        name="optical-digits-mlp",
        family=FAMILY,
        task="image classification",
        momentum=0.9,
        max_gradient_norm=1.0,
        total_steps=300,
        batch_size=16,
        usual_learning_rate=0.03,
    ),
    table=TABLE,
    network=DenseNetwork((64, 32, 16, 10), output_scale=0.1),
    loss=one_hot_cross_entropy,
)

REFERENCES = (
    SOFTMAX.reference(dataset=DATASET, parameters=650),
    MLP.reference(dataset=DATASET, parameters=2_778),
)
