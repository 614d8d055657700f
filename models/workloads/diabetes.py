"""The progress of diabetes from ten measurements of few patients: a small network with momentum."""

from __future__ import annotations

from torch.nn.functional import mse_loss

from greedylr.workload import WorkloadDescriptors
from models.workloads.dense_network import DenseNetwork
from models.workloads.standardised_table import standardised_table
from models.workloads.table_training import TableTraining

DATASET = "diabetes"

DIABETES_MLP = TableTraining(
    descriptors=WorkloadDescriptors(
        name="diabetes-mlp",
        family="diabetes",
        task="regression",
        momentum=0.9,
        weight_decay=0.01,
        total_steps=200,
        batch_size=16,
        usual_learning_rate=0.01,
    ),
    table=standardised_table(DATASET, "numbers", selection=90, reporting=130),
    network=DenseNetwork((10, 16, 1), output_scale=0.1),
    loss=mse_loss,
)

REFERENCES = (DIABETES_MLP.reference(dataset=DATASET, parameters=193),)
