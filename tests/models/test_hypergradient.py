from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from toy_workloads import Bowl

from greedylr.schedules import Schedule
from models.methods.hypergradient import HypergradientDescent, Per
from models.methods.method_training import MethodTrainer
from models.retraining.training_record import TrainingRecord


def trained(workload: Any, rates: list[float], steps: int, per: Per = "run") -> TrainingRecord:
    schedules = [Schedule().resolve(steps)] * len(rates)
    return MethodTrainer(HypergradientDescent(per=per))(workload, schedules, rates)


def test_rate_rises_by_beta_times_the_product_of_gradient_and_last_direction() -> None:
    # From w = 1 at rate 0.1: gradients 1, 0.9; the rate becomes 0.1 + 0.1 x 0.9 = 0.19, w = 0.9 - 0.19 x 0.9 = 0.729,
    # and then 0.19 + 0.1 x 0.9 x 0.729 = 0.25561.
    record = trained(Bowl(1.0), [0.1], 3)
    np.testing.assert_allclose(record.rates[:, 0], [0.1, 0.19, 0.25561], rtol=1e-12)
    np.testing.assert_allclose(record.losses[:, 0], [0.5, 0.405, 0.2657205], rtol=1e-12)


def test_momentum_gives_the_direction_that_the_next_gradient_is_held_against() -> None:
    # Directions 1 and 0.5 x 1 + 0.9 = 1.4: rates 0.1, 0.1 + 0.1 x 0.9 x 1 = 0.19, and with the gradient
    # 0.9 - 0.19 x 1.4 = 0.634 then 0.19 + 0.1 x 0.634 x 1.4 = 0.27876.
    record = trained(Bowl(1.0, momentum=0.5), [0.1], 3)
    np.testing.assert_allclose(record.rates[:, 0], [0.1, 0.19, 0.27876], rtol=1e-12)


def test_rate_that_overshoots_falls() -> None:
    # At rate 1.5 the weight jumps to the other side: gradients 1, -0.5.
    record = trained(Bowl(1.0), [1.5], 2)
    np.testing.assert_allclose(record.rates[:, 0], [1.5, 1.5 - 1.5 * 0.5], rtol=1e-12)


def test_each_parameter_follows_its_own_product_and_a_tensor_the_sum() -> None:
    # Gradients (1, 2), then (0.9, 1.8): products 0.9 and 3.6, together 4.5.
    parameter = trained(Bowl(1.0, 2.0), [0.1], 2, per="parameter")
    np.testing.assert_allclose(parameter.rates[:, 0], [0.1, 0.1 + 0.1 * (0.9 + 3.6) / 2], rtol=1e-12)
    tensor = trained(Bowl(1.0, 2.0), [0.1], 2, per="tensor")
    np.testing.assert_allclose(tensor.rates[:, 0], [0.1, 0.1 + 0.1 * 4.5], rtol=1e-12)


def test_beta_of_adam_is_a_ten_thousandth_of_the_starting_rate() -> None:
    # Adam's first direction is the sign of the gradient: the second gradient is 1 - 0.1.
    record = trained(Bowl(1.0, optimizer="adam"), [0.1], 2)
    np.testing.assert_allclose(record.rates[:, 0], [0.1, 0.1 + 1e-5 * 0.9], rtol=1e-7)


@pytest.mark.parametrize("per", ["run", "tensor", "parameter"])
@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_replicas_equal_plain_loops_over_one_weight_after_the_other(per: Per, optimizer: str) -> None:
    workload = TwoTensors(optimizer)
    rates = [0.001, 0.01, 0.03]
    record = trained(workload, rates, 60, per=per)
    for place, rate in enumerate(rates):
        losses, means = slow_descent(workload, rate, 60, per)
        np.testing.assert_allclose(record.losses[:, place], losses, rtol=1e-9)
        np.testing.assert_allclose(record.rates[:, place], means, rtol=1e-9)


class TwoTensors(Bowl):
    """A linear regression with weights and an intercept, whose batches differ from step to step."""

    def __init__(self, optimizer: str) -> None:
        super().__init__(0.0, optimizer=optimizer, momentum=0.9, weight_decay=0.01)
        self._batches = torch.randn(60, 8, 4, generator=torch.Generator().manual_seed(3), dtype=torch.float64)

    def parameters(self) -> dict[str, Tensor]:
        return {"weights": torch.ones(3, dtype=torch.float64), "intercept": torch.zeros((), dtype=torch.float64)}

    def batch(self, step: int) -> Tensor:
        return self._batches[step]

    def training_loss(self, parameters: Any, batch: Any) -> Tensor:
        predicted = batch[:, :3] @ parameters["weights"] + parameters["intercept"]
        return (predicted - batch[:, 3]).square().mean()

    def evaluate(self, parameters: Any, split: Any) -> Tensor:
        return self.training_loss(parameters, self._batches[0])


def slow_descent(workload: TwoTensors, rate: float, steps: int, per: Per) -> tuple[list[float], list[float]]:
    """One replica in plain floats: numbers 0 to 2 are the weights, 3 the intercept."""
    adam = workload.descriptors.optimizer == "adamw"
    decay = workload.descriptors.weight_decay
    beta = rate * (1e-4 if adam else 1.0)
    groups = {"run": [[0, 1, 2, 3]], "tensor": [[0, 1, 2], [3]], "parameter": [[0], [1], [2], [3]]}[per]
    weights, rates, directions = [1.0, 1.0, 1.0, 0.0], [rate] * 4, [0.0] * 4
    first, second = [0.0] * 4, [0.0] * 4
    losses, means = [], []
    for step in range(steps):
        batch = workload.batch(step).tolist()
        errors = [sum(w * x for w, x in zip(weights, row[:3], strict=False)) + weights[3] - row[3] for row in batch]
        inputs = [[*row[:3], 1.0] for row in batch]
        gradient = [2 / 8 * sum(e * x[i] for e, x in zip(errors, inputs, strict=True)) for i in range(4)]
        for group in groups:
            product = sum((gradient[i] + decay * weights[i]) * directions[i] for i in group)
            for i in group:
                rates[i] += beta * product
        for i in range(4):
            if adam:
                first[i] = 0.9 * first[i] + 0.1 * gradient[i]
                second[i] = 0.999 * second[i] + 0.001 * gradient[i] ** 2
                size = (second[i] / (1 - 0.999 ** (step + 1))) ** 0.5 + 1e-8
                directions[i] = first[i] / (1 - 0.9 ** (step + 1)) / size + decay * weights[i]
            else:
                first[i] = 0.9 * first[i] + gradient[i] + decay * weights[i]
                directions[i] = first[i]
        losses.append(sum(e * e for e in errors) / 8)
        means.append(sum(rates) / 4)
        weights = [w - r * d for w, r, d in zip(weights, rates, directions, strict=True)]
    return losses, means
