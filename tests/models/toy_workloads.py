"""Workloads of a line's length, for tests that compute by hand."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from greedylr.workload import Split, Workload, WorkloadDescriptors


class Bowl:
    """Loss curvature / 2 x ||w - target||², with one weight tensor "w"."""

    batched = True

    def __init__(self, *start: float, curvature: float = 1.0, **descriptors: Any) -> None:
        settings = {"momentum": 0.0, "total_steps": 10, "batch_size": 1, "usual_learning_rate": 0.1, **descriptors}
        self.descriptors = WorkloadDescriptors(name="bowl", family="toy", **settings)
        self._start = torch.tensor(start, dtype=torch.float64)
        self._curvature = curvature

    def parameters(self) -> dict[str, Tensor]:
        return {"w": self._start.clone()}

    def batch(self, step: int) -> Tensor:
        return torch.zeros_like(self._start)

    def training_loss(self, parameters: Mapping[str, Tensor], batch: Any) -> Tensor:
        return self._curvature / 2 * (parameters["w"] - batch).square().sum()

    def evaluate(self, parameters: Mapping[str, Tensor], split: Split) -> Tensor:
        return parameters["w"].square().sum()

    def project(self, parameters: dict[str, Tensor]) -> dict[str, Tensor]:
        return parameters


class OneByOne:
    """A workload that says it cannot be batched."""

    batched = False

    def __init__(self, workload: Workload) -> None:
        self.descriptors = workload.descriptors
        self.parameters = workload.parameters
        self.batch = workload.batch
        self.training_loss = workload.training_loss
        self.evaluate = workload.evaluate
        self.project = workload.project
