import random
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from greedylr.workload import Split, WorkloadDescriptors
from models.retraining.errors import WorkloadFailedError
from models.retraining.workload_trial import try_workload


class Slope:
    """Fits one slope to a few points; the splits are points of their own."""

    batched = True
    descriptors = WorkloadDescriptors(
        name="slope", family="toy", total_steps=10, batch_size=2, usual_learning_rate=0.01
    )

    def __init__(self) -> None:
        self.x = torch.arange(1.0, 9.0)
        self.y = 2 * self.x + torch.tensor([0.1, -0.1, 0.3, 0.2, -0.2, 0.4, 0.1, -0.3])
        self.splits: dict[str, Any] = {"training": [0, 1, 2, 3], "selection": [4, 5], "reporting": [6, 7]}

    def parameters(self) -> dict[str, Tensor]:
        return {"w": torch.ones(1)}

    def batch(self, step: int) -> Any:
        rows = [step % 4, (step + 1) % 4]
        return self.x[rows], self.y[rows]

    def training_loss(self, parameters: Mapping[str, Tensor], batch: Any) -> Tensor:
        x, y = batch
        return (parameters["w"] * x - y).square().mean()

    def evaluate(self, parameters: Mapping[str, Tensor], split: Split) -> Tensor:
        return self.training_loss(parameters, (self.x[self.splits[split]], self.y[self.splits[split]]))

    def project(self, parameters: dict[str, Tensor]) -> dict[str, Tensor]:
        return parameters


class ThatShowsItsRows(Slope):
    @property
    def rows(self) -> dict[str, Any]:
        return {name: torch.tensor(rows) for name, rows in self.splits.items()}


class ThatEvaluatesOneSplitTwice(Slope):
    def evaluate(self, parameters: Mapping[str, Tensor], split: Split) -> Tensor:
        return super().evaluate(parameters, "selection")


class ThatOverflowsAfterAStep(Slope):
    descriptors = replace(Slope.descriptors, usual_learning_rate=1e30)


class WithAnotherBatchEachTimeItIsMade(Slope):
    def __init__(self) -> None:
        super().__init__()
        self.x += float(np.random.default_rng().normal())


class WithAnotherLossEachTime(Slope):
    def training_loss(self, parameters: Mapping[str, Tensor], batch: Any) -> Tensor:
        return super().training_loss(parameters, batch) * random.random()


class WithDropout(Slope):
    def training_loss(self, parameters: Mapping[str, Tensor], batch: Any) -> Tensor:
        return super().training_loss(parameters, batch) * torch.rand(())


class ThatChangesItsBatch(Slope):
    def training_loss(self, parameters: Mapping[str, Tensor], batch: Any) -> Tensor:
        batch[0].add_(1)
        return super().training_loss(parameters, batch)


class ThatChangesItsWeights(Slope):
    def evaluate(self, parameters: Mapping[str, Tensor], split: Split) -> Tensor:
        parameters["w"].mul_(0.5)
        return super().evaluate(parameters, split)


class WithoutSlope(Slope):
    def training_loss(self, parameters: Mapping[str, Tensor], batch: Any) -> Tensor:
        return super().training_loss(parameters, batch) + 0 * parameters["w"].sum()

    def parameters(self) -> dict[str, Tensor]:
        return {"w": torch.tensor([2.0])}

    def batch(self, step: int) -> Any:
        return self.x[:2], 2 * self.x[:2]


class WithAnInfiniteSlope(Slope):
    def training_loss(self, parameters: Mapping[str, Tensor], batch: Any) -> Tensor:
        return super().training_loss(parameters, batch) + (parameters["w"] - 1).sqrt().sum()


def on(device: str = "cpu") -> Callable[[Slope], None]:
    return lambda workload: try_workload(workload, type(workload), label="slope", device=device)


@pytest.mark.parametrize("workload", [Slope(), ThatShowsItsRows(), WithDropout(), ThatOverflowsAfterAStep()])
def test_workload_that_is_the_same_twice_passes(workload: Slope) -> None:
    on()(workload)


def overlapping() -> Iterator[tuple[Slope, str]]:
    shared = ThatShowsItsRows()
    shared.splits["training"] = [0, 1, 2, 3, 4]
    yield shared, r"must never meet, got 1 rows both in 'training' and in 'selection', \[4\] among them"
    masks = Slope()
    masks.entries = {"selection": torch.tensor([True, True]), "reporting": torch.tensor([False, True])}  # type: ignore[attr-defined]
    yield masks, r"must never meet, got 1 rows both in 'selection' and in 'reporting', \[1\] among them"


@pytest.mark.parametrize(("workload", "message"), list(overlapping()))
def test_splits_that_meet_are_refused_where_a_workload_shows_them(workload: Slope, message: str) -> None:
    with pytest.raises(WorkloadFailedError, match=message):
        on()(workload)


@pytest.mark.parametrize(
    ("workload", "message"),
    [
        (ThatEvaluatesOneSplitTwice(), "'selection' and 'reporting' must be different data, got the same loss"),
        (WithAnotherBatchEachTimeItIsMade(), r"made with one seed must be the same, got another batch\(0\)"),
        (WithAnotherLossEachTime(), "must give one loss for the same weights and batch"),
        (ThatChangesItsBatch(), "must leave the batch as it is"),
        (ThatChangesItsWeights(), r"evaluate\(...\) must leave the weights as they are"),
        (WithoutSlope(), "must depend on the parameters, got a gradient of zero"),
        (WithAnInfiniteSlope(), "must be finite at the initial weights"),
    ],
)
def test_what_a_single_look_does_not_show_is_refused(workload: Slope, message: str) -> None:
    with pytest.raises(WorkloadFailedError, match=message):
        on()(workload)


def test_weights_on_another_device_than_asked_for_are_refused() -> None:
    with pytest.raises(
        WorkloadFailedError, match=r"must be on the device that the factory is given, meta, got \['cpu'\]"
    ):
        on("meta")(Slope())
