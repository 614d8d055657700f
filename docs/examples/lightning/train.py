"""Lightning as a command of greedylr: a small classifier that logs by Lightning's own MLflow logger.

[groups."wine-adam"]
command = "python docs/examples/lightning/train.py --seed {seed} --lr {learning_rate} --schedule {schedule}"
metric = "val_loss"
report_metric = "test_loss"
"""

import argparse
import os

import torch
from lightning.pytorch import LightningModule, Trainer, seed_everything
from lightning.pytorch.loggers import MLFlowLogger
from sklearn.datasets import load_wine
from sklearn.preprocessing import scale
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader, TensorDataset

from greedylr import load_schedule
from greedylr.lightning import GreedyLRCallback

parser = argparse.ArgumentParser()
parser.add_argument("--seed", type=int, required=True)
parser.add_argument("--lr", type=float, required=True)
parser.add_argument("--schedule", required=True)
parser.add_argument("--epochs", type=int, default=12)
given = parser.parse_args()


class Classifier(LightningModule):
    """Three kinds of wine by 13 measurements."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = torch.nn.Sequential(torch.nn.Linear(13, 32), torch.nn.ReLU(), torch.nn.Linear(32, 3))

    def training_step(self, batch: list[torch.Tensor], index: int) -> torch.Tensor:
        return cross_entropy(self.layers(batch[0]), batch[1])

    def validation_step(self, batch: list[torch.Tensor], index: int, dataloader_idx: int) -> None:
        name = ("val_loss", "test_loss")[dataloader_idx]
        self.log(name, cross_entropy(self.layers(batch[0]), batch[1]), add_dataloader_idx=False)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.Adam(self.parameters(), lr=given.lr)


# The same rows for every seed: what the rate is chosen by and what is reported never meet.
measured, kinds = load_wine(return_X_y=True)
rows = torch.randperm(len(kinds), generator=torch.Generator().manual_seed(0)).split([98, 40, 40])
x, y = torch.tensor(scale(measured), dtype=torch.float32), torch.tensor(kinds)
training, validation, test = (TensorDataset(x[part], y[part]) for part in rows)

# The seed fixes initial weights and order of the data, so that two schedules with one seed are a pair.
seed_everything(given.seed, verbose=False)
trainer = Trainer(
    max_epochs=given.epochs,
    accelerator="cpu",
    callbacks=[GreedyLRCallback(load_schedule(given.schedule))],
    logger=MLFlowLogger(
        experiment_name=os.environ.get("MLFLOW_EXPERIMENT_NAME", "wine"), run_id=os.environ.get("MLFLOW_RUN_ID")
    ),
    enable_checkpointing=False,
    enable_progress_bar=False,
)
model, held_out = Classifier(), [DataLoader(part, batch_size=40) for part in (validation, test)]
trainer.validate(model, held_out, verbose=False)  # the loss of having learned nothing
trainer.fit(model, DataLoader(training, batch_size=14, shuffle=True), held_out)
