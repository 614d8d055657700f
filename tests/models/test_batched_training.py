from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from greedylr.schedules import CONTROLS, Schedule
from greedylr.workload import Split, WorkloadDescriptors
from models.retraining.batched_training import train_batched
from models.retraining.single_training import train_singly
from models.workloads.digits_nmf import digits_nmf


class Parabola:
    """Loss a/2 w**2: SGD without momentum multiplies w by (1 - rate x a) each step."""

    batched = True
    descriptors = WorkloadDescriptors(
        name="parabola", family="toy", momentum=0.0, total_steps=10, batch_size=1, usual_learning_rate=0.1
    )

    def __init__(self, curvature: float = 1.0, *, slope: float = 0.0, steep_evaluation: bool = False) -> None:
        self.curvature = curvature
        self.slope = slope
        self.steep_evaluation = steep_evaluation

    def parameters(self) -> dict[str, Tensor]:
        return {"w": torch.ones(2)}

    def batch(self, step: int) -> Tensor:
        return torch.tensor(self.curvature)

    def training_loss(self, parameters: Mapping[str, Tensor], batch: Any) -> Tensor:
        loss: Tensor = batch / 2 * parameters["w"].square() + self.slope * parameters["w"]
        return loss.mean()

    def evaluate(self, parameters: Mapping[str, Tensor], split: Split) -> Tensor:
        loss = parameters["w"].square().mean()
        return torch.exp(1000 * loss) if self.steep_evaluation and split == "reporting" else loss

    def project(self, parameters: dict[str, Tensor]) -> dict[str, Tensor]:
        return parameters


class RefusingWhatIsNotFinite(Parabola):
    """Evaluates as scikit-learn does."""

    batched = False

    def evaluate(self, parameters: Mapping[str, Tensor], split: Split) -> Tensor:
        if not bool(parameters["w"].isfinite().all()):
            raise ValueError("Input contains NaN.")
        return super().evaluate(parameters, split)


class WithDropout(Parabola):
    def training_loss(self, parameters: Mapping[str, Tensor], batch: Any) -> Tensor:
        return super().training_loss(parameters, batch) * torch.rand(())


def constant(total_steps: int) -> list[Any]:
    return [Schedule().resolve(total_steps)]


def test_replica_follows_the_arithmetic_of_its_own_rate() -> None:
    record = train_batched(Parabola(), constant(3) * 2, [0.5, 1.0])
    # The mean over two equal weights halves the gradient.
    np.testing.assert_allclose(record.losses[:, 0], [0.5, 0.5 * 0.75**2, 0.5 * 0.75**4], rtol=1e-6)
    np.testing.assert_allclose(record.reporting_loss, [0.75**6, 0.5**6], rtol=1e-6)
    np.testing.assert_array_equal(record.rates, [[0.5, 1.0]] * 3)


@pytest.mark.parametrize("train", [train_batched, train_singly])
def test_loss_that_overflows_is_a_divergence_at_that_step(train: Any) -> None:
    # The weights grow by 1 - 1e10 a step: 1e20 has a square in float32's range, 1e30 has not.
    record = train(Parabola(), constant(10), [2e10])
    assert record.diverged_step.tolist() == [2]
    np.testing.assert_equal(np.isfinite(record.losses[:, 0]), [True] * 2 + [False] * 8)


@pytest.mark.parametrize("train", [train_batched, train_singly])
def test_weights_that_overflow_are_a_divergence_though_every_loss_was_finite(train: Any) -> None:
    record = train(Parabola(curvature=0.0, slope=1e30), constant(10), [1e20])
    assert record.diverged_step.tolist() == [0]
    assert np.isfinite(record.losses[0, 0])
    assert np.isnan(record.reporting_loss[0])


@pytest.mark.parametrize("train", [train_batched, train_singly])
def test_final_evaluation_that_overflows_is_a_divergence_at_the_end(train: Any) -> None:
    record = train(Parabola(steep_evaluation=True), constant(10), [1e-6])
    assert record.diverged_step.tolist() == [10]


def test_weights_that_diverged_are_not_evaluated() -> None:
    workload = RefusingWhatIsNotFinite(curvature=0.0, slope=1e30)
    record = train_singly(workload, constant(10) * 2, [1e20, 1e-30])
    assert record.diverged_step.tolist() == [0, -1]
    assert np.isfinite(record.reporting_loss).tolist() == [False, True]


def test_replica_that_diverges_touches_no_other(digits: Mapping[str, NDArray[Any]]) -> None:
    workload = digits_nmf(1, "cpu", digits)
    names = ["cosine", "greedy_smooth50_anneal", "plateau"]
    schedules = [CONTROLS[name].resolve(80) for name in names]
    rates = [3.0, 10.0, 30.0]
    alone = train_batched(workload, [*schedules, schedules[0]], [*rates, 1.0])
    beside = train_batched(workload, [*schedules, schedules[0]], [*rates, 1e6])
    assert beside.diverged_step[:3].tolist() == [-1, -1, -1]
    assert 0 < beside.diverged_step[3] < 80
    np.testing.assert_array_equal(alone.losses[:, :3], beside.losses[:, :3])
    np.testing.assert_array_equal(alone.reporting_loss[:3], beside.reporting_loss[:3])


def test_divergence_is_found_at_the_same_step_as_one_by_one(digits: Mapping[str, NDArray[Any]]) -> None:
    workload = digits_nmf(1, "cpu", digits)
    schedules, rates = [CONTROLS["constant"].resolve(80)] * 3, [3.0, 1e3, 1e6]
    batched = train_batched(workload, schedules, rates, dtype=torch.float64)
    single = train_singly(workload, schedules, rates, dtype=torch.float64)
    assert batched.diverged_step.tolist() == single.diverged_step.tolist()
    np.testing.assert_allclose(batched.reporting_loss, single.reporting_loss, rtol=1e-9)


def test_randomness_inside_a_loss_is_shared_by_the_replicas() -> None:
    record = train_batched(WithDropout(), constant(5) * 2, [0.1, 0.1])
    np.testing.assert_array_equal(record.losses[:, 0], record.losses[:, 1])


def test_every_step_of_a_program_is_told() -> None:
    steps: list[int] = []
    train_batched(Parabola(), constant(7) * 2, [0.1, 0.2], on_step=lambda: steps.append(1))
    assert len(steps) == 7
