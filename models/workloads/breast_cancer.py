"""Logistic regression on the breast-cancer data: a convex loss, plain SGD without momentum."""

from __future__ import annotations

from greedylr.workload import WorkloadDescriptors
from models.workloads.cross_entropy import binary_cross_entropy
from models.workloads.dense_network import DenseNetwork
from models.workloads.standardised_table import standardised_table
from models.workloads.table_training import TableTraining

DATASET = "breast_cancer"

BREAST_CANCER_LOGISTIC = TableTraining(
    descriptors=WorkloadDescriptors(
        name="breast-cancer-logistic",
        family="breast-cancer",
        task="binary classification",
        momentum=0.0,
        total_steps=200,
        batch_size=16,
        usual_learning_rate=3.0,
    ),
    table=standardised_table(DATASET, "yes or no", selection=120, reporting=200),
    network=DenseNetwork((30, 1), output_scale=0.1),
    loss=binary_cross_entropy,
)

REFERENCES = (BREAST_CANCER_LOGISTIC.reference(dataset=DATASET, parameters=31),)
