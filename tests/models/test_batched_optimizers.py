from typing import Any

import pytest
import torch

from greedylr.workload import WorkloadDescriptors
from models.retraining.batched_optimizers import BatchedSGD, batched_optimizer, clipped_gradients
from models.retraining.single_optimizers import torch_optimizer


def described(**changes: Any) -> WorkloadDescriptors:
    return WorkloadDescriptors(
        name="toy", family="toy", total_steps=10, batch_size=1, usual_learning_rate=0.1, **changes
    )


@pytest.mark.parametrize(
    "descriptors",
    [
        described(momentum=0.0),
        described(momentum=0.9),
        described(momentum=0.9, nesterov=True, weight_decay=0.1),
        described(momentum=0.0, weight_decay=0.1),
        described(optimizer="adam"),
        described(optimizer="adam", beta1=0.5, beta2=0.9, epsilon=1e-3, weight_decay=0.1),
        described(optimizer="adamw", weight_decay=0.1),
    ],
    ids=lambda each: f"{each.optimizer}-{each.momentum:g}-{each.nesterov}-{each.weight_decay:g}",
)
def test_optimizer_equals_the_one_of_torch_with_a_rate_for_each_replica(descriptors: WorkloadDescriptors) -> None:
    generator = torch.Generator().manual_seed(0)
    initial = torch.randn(3, 4, 2, generator=generator, dtype=torch.float64)
    rates = [0.01, 0.1, 1.0]
    batched, weights = batched_optimizer(descriptors), {"weight": initial}
    singles = [torch.nn.Parameter(initial[index].clone()) for index in range(3)]
    optimizers = [torch_optimizer(descriptors, [single], rate) for single, rate in zip(singles, rates, strict=True)]
    for step in range(200):
        gradient = torch.randn(3, 4, 2, generator=generator, dtype=torch.float64)
        now = [rate / (1 + step) for rate in rates]
        weights = batched.updated(weights, {"weight": gradient}, torch.tensor(now, dtype=torch.float64))
        for index, (single, optimizer) in enumerate(zip(singles, optimizers, strict=True)):
            optimizer.param_groups[0]["lr"] = now[index]
            single.grad = gradient[index].clone()
            optimizer.step()
    torch.testing.assert_close(weights["weight"], torch.stack([single.data for single in singles]), rtol=1e-9, atol=0)


def test_second_step_goes_on_with_the_momentum_of_the_first() -> None:
    optimizer, rate = BatchedSGD(0.5), torch.tensor([0.1])
    weights = optimizer.updated({"w": torch.tensor([1.0])}, {"w": torch.tensor([2.0])}, rate)
    assert weights["w"].tolist() == pytest.approx([0.8])
    weights = optimizer.updated(weights, {"w": torch.tensor([0.0])}, rate)
    assert weights["w"].tolist() == pytest.approx([0.7])


def test_first_step_of_adam_is_the_rate_in_the_direction_of_the_sign() -> None:
    optimizer = batched_optimizer(described(optimizer="adam"))
    weights = optimizer.updated(
        {"w": torch.tensor([[1.0], [1.0]])}, {"w": torch.tensor([[3.0], [-0.2]])}, torch.tensor([0.1, 0.5])
    )
    assert weights["w"].flatten().tolist() == pytest.approx([0.9, 1.5])


@pytest.mark.parametrize("optimizer", ["sgd", "adam", "adamw"])
def test_weights_and_gradients_that_are_given_stay_as_they_are(optimizer: Any) -> None:
    weights, gradients = {"w": torch.ones(2, 3)}, {"w": torch.ones(2, 3)}
    batched = batched_optimizer(described(optimizer=optimizer, weight_decay=0.1))
    for _ in range(2):
        batched.updated(weights, gradients, torch.tensor([0.1, 0.2]))
    assert torch.equal(weights["w"], torch.ones(2, 3))
    assert torch.equal(gradients["w"], torch.ones(2, 3))


def test_gradients_of_each_replica_are_clipped_by_their_common_norm_as_torch_does() -> None:
    generator = torch.Generator().manual_seed(0)
    gradients = {name: torch.randn(4, 5, 2, generator=generator) for name in ("one", "other")}
    gradients = {
        name: gradient * torch.tensor([0.01, 1, 10, 1e6])[:, None, None] for name, gradient in gradients.items()
    }
    clipped = clipped_gradients(gradients, 1.5)
    for replica in range(4):
        weights = [torch.nn.Parameter(torch.zeros(5, 2)) for _ in gradients]
        for weight, gradient in zip(weights, gradients.values(), strict=True):
            weight.grad = gradient[replica].clone()
        torch.nn.utils.clip_grad_norm_(weights, 1.5)
        for weight, ours in zip(weights, clipped.values(), strict=True):
            torch.testing.assert_close(ours[replica], weight.grad)
    assert torch.equal(clipped["one"][0], gradients["one"][0])


def test_gradient_of_a_single_number_counts_in_the_norm_that_is_clipped() -> None:
    gradients = {"w": torch.tensor([[3.0], [0.3]]), "intercept": torch.tensor([4.0, 0.4])}
    clipped = clipped_gradients(gradients, 1.0)
    assert clipped["intercept"].tolist() == pytest.approx([0.8, 0.4])
