"""A small network that tells wines apart, with Adam on few and noisy rows: each batch of eight is drawn and blurred."""

from __future__ import annotations

from greedylr.workload import WorkloadDescriptors
from models.workloads.batch_noise import blurred_inputs
from models.workloads.cross_entropy import one_hot_cross_entropy
from models.workloads.dense_network import DenseNetwork
from models.workloads.standardised_table import standardised_table
from models.workloads.table_training import TableTraining

DATASET = "wine"

WINE_MLP = TableTraining(
    descriptors=WorkloadDescriptors(
        name="wine-mlp",
        family="wine",
        task="multiclass classification",
        optimizer="adam",
        total_steps=200,
        batch_size=8,
        usual_learning_rate=0.03,
    ),
    table=standardised_table(DATASET, "classes", selection=40, reporting=70),
    network=DenseNetwork((13, 16, 3), output_scale=0.1),
    loss=one_hot_cross_entropy,
    noise=blurred_inputs(0.7),
    replacement=True,
)

REFERENCES = (WINE_MLP.reference(dataset=DATASET, parameters=275),)
