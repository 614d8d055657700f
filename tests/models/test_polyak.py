import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from toy_workloads import Bowl

from greedylr.schedules import Schedule
from models.methods.method import Beginning, Step
from models.methods.method_training import MethodTrainer
from models.methods.polyak import PolyakStep
from models.retraining.training_record import TrainingRecord


def trained(workload: Any, rates: list[float], steps: int) -> TrainingRecord:
    return MethodTrainer(PolyakStep())(workload, [Schedule().resolve(steps)] * len(rates), rates)


def test_step_is_the_loss_over_half_the_squared_gradient_and_at_most_the_learning_rate() -> None:
    # Loss 4 / 2 x 2² = 8, gradient 8: 8 / (0.5 x 64) = 0.25, which leads to the least loss.
    record = trained(Bowl(2.0, curvature=4.0), [10.0, 0.125], 2)
    np.testing.assert_allclose(record.rates[0], [0.25, 0.125], rtol=1e-12)
    np.testing.assert_allclose(record.losses, [[8.0, 8.0], [0.0, 2.0]], atol=1e-12)


def test_weight_decay_belongs_to_the_objective() -> None:
    # Loss 0.5 and penalty 0.5, gradient 1 + 1: (0.5 + 0.5) / (0.5 x 4).
    record = trained(Bowl(1.0, weight_decay=1.0), [10.0], 2)
    np.testing.assert_allclose(record.rates[0], [0.5], rtol=1e-12)
    np.testing.assert_allclose(record.losses[1], [0.0], atol=1e-12)


def test_replica_at_rest_takes_the_largest_rate_and_stays() -> None:
    record = trained(Bowl(0.0), [0.3], 3)
    np.testing.assert_array_equal(record.rates[:, 0], [0.3] * 3)
    np.testing.assert_array_equal(record.losses[:, 0], [0.0] * 3)
    assert record.diverged_step.tolist() == [-1]


def test_replicas_equal_a_plain_loop() -> None:
    workload, most = Bowl(1.0, -3.0, 0.5, curvature=0.3), [0.5, 1.0, 2.0]
    record = trained(workload, most, 30)
    for place, largest in enumerate(most):
        weights, rates = [1.0, -3.0, 0.5], []
        for _ in range(30):
            gradient = [0.3 * weight for weight in weights]
            loss = 0.15 * sum(weight**2 for weight in weights)
            rates.append(min(loss / (0.5 * sum(each**2 for each in gradient)), largest))
            weights = [weight - rates[-1] * each for weight, each in zip(weights, gradient, strict=True)]
        np.testing.assert_allclose(record.rates[:, place], rates, rtol=1e-9)


def test_negative_loss_is_refused() -> None:
    method = PolyakStep()(
        Beginning(descriptors=Bowl(1.0).descriptors, learning_rates=torch.tensor([0.1, 0.1]), total_steps=5)
    )
    weights = {"w": torch.ones(2, 1)}
    step = Step(
        weights=weights,
        gradients=weights,
        losses=torch.tensor([1.0, -0.25]),
        losses_at=lambda _: torch.full((2,), math.nan),
        project=dict,
    )
    with pytest.raises(ValueError, match=r"0 as the least loss there is, got a training loss of -0.25; leave it out"):
        method.take(step)


def test_replica_that_diverged_touches_no_other() -> None:
    class Cliff(Bowl):
        def training_loss(self, parameters: Any, batch: Any) -> Tensor:
            loss = super().training_loss(parameters, batch)
            return torch.where(parameters["w"].abs().max() > 4.0, torch.inf, loss) + 100.0

    # The least loss is far above 0, so that the step is the largest: -1 x (1 - 6) is beyond the cliff.
    record = trained(Cliff(1.0), [0.5, 6.0], 6)
    assert record.diverged_step.tolist() == [-1, 1]
    np.testing.assert_allclose(record.losses[:3, 0], [100.5, 100.125, 100.03125], rtol=1e-12)
