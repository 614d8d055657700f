import pytest
import torch

from models.retraining.batched_optimizers import BatchedSGD


@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_sgd_equals_the_one_of_torch_with_a_rate_for_each_replica(momentum: float) -> None:
    generator = torch.Generator().manual_seed(0)
    initial = torch.randn(3, 4, 2, generator=generator, dtype=torch.float64)
    rates = torch.tensor([0.01, 0.1, 1.0], dtype=torch.float64)
    batched, weights = BatchedSGD(momentum), {"weight": initial}
    singles = [torch.nn.Parameter(initial[index].clone()) for index in range(3)]
    optimizers = [
        torch.optim.SGD([single], lr=rate, momentum=momentum)
        for single, rate in zip(singles, rates.tolist(), strict=True)
    ]
    for _ in range(5):
        gradient = torch.randn(3, 4, 2, generator=generator, dtype=torch.float64)
        weights = batched.updated(weights, {"weight": gradient}, rates)
        for index, (single, optimizer) in enumerate(zip(singles, optimizers, strict=True)):
            single.grad = gradient[index].clone()
            optimizer.step()
    torch.testing.assert_close(weights["weight"], torch.stack([single.data for single in singles]), rtol=1e-12, atol=0)


def test_second_step_goes_on_with_the_momentum_of_the_first() -> None:
    optimizer, rate = BatchedSGD(0.5), torch.tensor([0.1])
    weights = optimizer.updated({"w": torch.tensor([1.0])}, {"w": torch.tensor([2.0])}, rate)
    assert weights["w"].tolist() == pytest.approx([0.8])
    weights = optimizer.updated(weights, {"w": torch.tensor([0.0])}, rate)
    assert weights["w"].tolist() == pytest.approx([0.7])


def test_weights_that_are_given_stay_as_they_are() -> None:
    weights = {"w": torch.ones(2, 3)}
    BatchedSGD(0.9).updated(weights, {"w": torch.ones(2, 3)}, torch.tensor([0.1, 0.2]))
    assert torch.equal(weights["w"], torch.ones(2, 3))
