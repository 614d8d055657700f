import torch

from models.retraining.peak_memory import peak_bytes

FLOATS = 1000
BYTES = 4 * FLOATS


def test_peak_counts_what_lives_at_once_and_not_what_came_before_or_is_gone() -> None:
    before = torch.zeros(FLOATS)

    def run() -> None:
        first = before + 1
        second = first * 2
        del first
        third = second.reshape(10, -1).t()  # a view
        third.mul_(2)

    assert peak_bytes("cpu", run) == 2 * BYTES


def test_peak_counts_what_the_backward_pass_keeps_and_the_gradients() -> None:
    weights = torch.ones(FLOATS, requires_grad=True)

    def forward() -> None:
        with torch.no_grad():
            _ = weights.exp().sin()

    def both() -> None:
        weights.exp().sin().sum().backward()
        weights.grad = None

    assert peak_bytes("cpu", forward) == 2 * BYTES
    assert peak_bytes("cpu", both) >= 3 * BYTES
