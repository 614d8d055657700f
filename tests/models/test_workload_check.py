from collections.abc import Mapping
from typing import Any

import pytest
import torch
from torch import Tensor

from greedylr.workload import Split, WorkloadDescriptors
from models.retraining.errors import WorkloadFailedError
from models.retraining.workload_check import checked_workload


class Line:
    batched = True
    descriptors: Any = WorkloadDescriptors(
        name="line", family="toy", total_steps=10, batch_size=1, usual_learning_rate=0.1
    )

    def parameters(self) -> dict[str, Tensor]:
        return {"w": torch.ones(2)}

    def batch(self, step: int) -> Any:
        return {"x": torch.tensor([1.0, 2.0]), "note": "first"}

    def training_loss(self, parameters: Mapping[str, Tensor], batch: Any) -> Any:
        return (parameters["w"] * batch["x"]).square().mean()

    def evaluate(self, parameters: Mapping[str, Tensor], split: Split) -> Any:
        return parameters["w"].square().mean()

    def project(self, parameters: dict[str, Tensor]) -> dict[str, Tensor]:
        return parameters


def broken(**members: Any) -> Line:
    made: Line = type("Broken", (Line,), members)()
    return made


def random_weights(_: Line) -> dict[str, Tensor]:
    return {"w": torch.rand(2)}


def random_batch(_: Line, step: int) -> Any:
    return {"x": torch.rand(2)}


def test_workload_that_keeps_the_contract_is_handed_back() -> None:
    line = Line()
    assert checked_workload(line, "line") is line


@pytest.mark.parametrize(
    ("made", "message"),
    [
        (None, "line must return a greedylr.workload.Workload, got NoneType, which lacks descriptors, batched, param"),
        (broken(descriptors={"name": "line"}), "descriptors must be a greedylr.workload.WorkloadDescriptors"),
        (broken(batched="yes"), "batched must be True or False, got 'yes'"),
        (broken(parameters=lambda self: {}), "must return a dict of floating-point tensors, got {}"),
        (broken(parameters=lambda self: {"w": torch.ones(2).int()}), "floating-point tensors, got {'w': torch.int32}"),
        (broken(parameters=lambda self: {"w": torch.tensor([float("nan")])}), "must be finite"),
        (broken(parameters=random_weights), "the same weights at each call"),
        (broken(batch=random_batch), "function of seed and step"),
        (broken(training_loss=lambda self, weights, batch: 1.5), "must be a scalar tensor, got float"),
        (
            broken(training_loss=lambda self, weights, batch: weights["w"].sum() * float("nan")),
            "must be finite at the ini",
        ),
        (broken(training_loss=lambda self, weights, batch: weights["w"]), r"must be a scalar tensor, got \(2,\)"),
        (broken(training_loss=lambda self, weights, batch: torch.tensor(1.0)), "must have a gradient"),
        (broken(evaluate=lambda self, weights, split: torch.tensor(float("inf"))), "must be finite at the initial"),
        (broken(project=lambda self, weights: {}), r"project must return the weights it was given, expected {'w'"),
    ],
)
def test_broken_part_of_the_contract_is_named(made: object, message: str) -> None:
    with pytest.raises(WorkloadFailedError, match=message):
        checked_workload(made, "line")
