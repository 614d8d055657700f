"""Friedman's function of ten numbers, five of them without effect, with noise: a network with Adam."""

from __future__ import annotations

from torch.nn.functional import mse_loss

from greedylr.workload import WorkloadDescriptors
from models.workloads.dense_network import DenseNetwork
from models.workloads.standardised_table import standardised_table
from models.workloads.table_training import TableTraining

DATASET = "friedman"

FRIEDMAN_MLP = TableTraining(
    descriptors=WorkloadDescriptors(
        name="friedman-mlp",
        family="friedman",
        task="regression",
        optimizer="adam",
        total_steps=400,
        batch_size=16,
        usual_learning_rate=0.1,
    ),
    table=standardised_table(DATASET, "numbers", selection=500, reporting=1500),
    network=DenseNetwork((10, 32, 1), output_scale=0.1),
    loss=mse_loss,
)

REFERENCES = (FRIEDMAN_MLP.reference(dataset=DATASET, parameters=385),)
