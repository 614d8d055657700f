"""Workloads whose losses keep something beside the weights, as batch norm does: no replica sees what another left."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from greedylr.schedules import CONTROLS
from greedylr.workload import Split, WorkloadDescriptors
from models.retraining.execution import run_job
from models.retraining.job import Configuration, Job, JobResult, WorkloadReference

RATES = (0.3, 0.01)


class Normalised:
    """A network with batch norm, trained on running batches and evaluated with the statistics that these left."""

    batched = False
    descriptors = WorkloadDescriptors(
        name="normalised", family="own", total_steps=8, batch_size=16, usual_learning_rate=0.1
    )

    def __init__(self, seed: int) -> None:
        torch.manual_seed(seed)
        self._network = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.BatchNorm1d(8), torch.nn.Linear(8, 1))
        self._weights = {name: weight.detach().clone() for name, weight in self._network.named_parameters()}
        self._rows = torch.randn(10, 16, 5, generator=torch.Generator().manual_seed(seed)) + 3

    def parameters(self) -> dict[str, Tensor]:
        return {name: weight.clone() for name, weight in self._weights.items()}

    def batch(self, step: int) -> Tensor:
        return self._rows[step % 8]

    def training_loss(self, parameters: Mapping[str, Tensor], batch: Any) -> Tensor:
        self._network.train()
        return self._loss(parameters, batch)

    def evaluate(self, parameters: Mapping[str, Tensor], split: Split) -> Tensor:
        self._network.eval()
        return self._loss(parameters, self._rows[8 if split == "selection" else 9])

    def project(self, parameters: dict[str, Tensor]) -> dict[str, Tensor]:
        return parameters

    def _loss(self, parameters: Mapping[str, Tensor], rows: Tensor) -> Tensor:
        predicted = torch.func.functional_call(self._network, dict(parameters), (rows[:, :4],))
        return (predicted.squeeze(1) - rows[:, 4]).square().mean()


def trained(root: Path, rates: tuple[float, ...]) -> JobResult:
    configurations = tuple(
        Configuration(name="cosine", schedule=CONTROLS["cosine"], learning_rate=rate) for rate in rates
    )
    reference = WorkloadReference(factory="train:workload", root=str(root))
    job = Job(workload=reference, configurations=configurations, seeds=(1, 2))
    return run_job(job, {}, factory=lambda seed, _: Normalised(seed))


def test_statistics_of_one_replica_reach_no_other(tmp_path: Path) -> None:
    together = trained(tmp_path, RATES)
    alone = trained(tmp_path, RATES[1:])
    assert [row.reporting_loss for row in together.rows[2:]] == [row.reporting_loss for row in alone.rows]
    np.testing.assert_array_equal(together.curves.losses[1:], alone.curves.losses)


def test_initial_loss_is_that_of_a_workload_on_which_nothing_was_tried(tmp_path: Path) -> None:
    untrained = [Normalised(seed) for seed in (1, 2)]
    expected = [float(workload.evaluate(workload.parameters(), "reporting")) for workload in untrained]
    assert [row.initial_reporting_loss for row in trained(tmp_path, (0.1,)).rows] == expected
