from collections.abc import Mapping
from typing import Any

import torch
from numpy.typing import NDArray

from greedylr.schedules import Schedule
from models.retraining.batched_training import train_batched
from models.retraining.peak_memory import peak_bytes
from models.workloads.reference import REFERENCES

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


def test_each_replica_takes_as_much_as_the_second_one(digits: Mapping[str, NDArray[Any]]) -> None:
    workload = REFERENCES["mnist-mlp"].make(1, "cpu", digits)

    def peak(replicas: int) -> int:
        schedules = [Schedule().resolve(2)] * replicas
        return peak_bytes("cpu", lambda: train_batched(workload, schedules, [0.1] * replicas))

    one, two, seven = peak(1), peak(2), peak(7)
    assert abs(seven - (one + 6 * (two - one))) < 0.01 * seven
