"""The price of diamonds, on a logarithmic scale: a linear model, a network with AdamW, and a wide one."""

from __future__ import annotations

from dataclasses import replace

from torch.nn.functional import mse_loss

from greedylr.workload import WorkloadDescriptors
from models.workloads.dense_network import DenseNetwork
from models.workloads.standardised_table import standardised_table
from models.workloads.table_training import TableTraining

DATASET = "diamonds"
TABLE = standardised_table(DATASET, "numbers", selection=1000, reporting=2000)

MLP = TableTraining(
    descriptors=WorkloadDescriptors(
        name="diamonds-mlp",
        family="diamonds",
        task="regression",
        optimizer="adamw",
        weight_decay=0.01,
        total_steps=400,
        batch_size=32,
        usual_learning_rate=0.1,
    ),
    table=TABLE,
    network=DenseNetwork((9, 32, 16, 1), output_scale=0.1),
    loss=mse_loss,
)

# Some stones have sides of 0 or 59 mm, 40 deviations from the others: gradients are clipped, or such a row ends it.
LINEAR = TableTraining(
    descriptors=WorkloadDescriptors(
        name="diamonds-linear",
        family="diamonds",
        task="regression",
        momentum=0.9,
        nesterov=True,
        max_gradient_norm=1.0,
        total_steps=300,
        batch_size=16,
        usual_learning_rate=0.1,
    ),
    table=TABLE,
    network=DenseNetwork((9, 1), output_scale=0.1),
    loss=mse_loss,
)

LARGE = TableTraining(
    descriptors=replace(
        MLP.descriptors, name="diamonds-mlp-large", total_steps=3000, batch_size=512, usual_learning_rate=0.01
    ),
    table=standardised_table(DATASET, "numbers", selection=4000, reporting=8000),
    network=DenseNetwork((9, 256, 256, 256, 1), output_scale=0.1),
    loss=mse_loss,
    evaluated_at_once=None,
)

REFERENCES = (
    MLP.reference(dataset=DATASET, parameters=865),
    LINEAR.reference(dataset=DATASET, parameters=10),
    LARGE.reference(dataset=DATASET, parameters=134_401, size="large"),
)
