from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from greedylr.schedules import CONTROLS
from models.retraining.batched_training import train_batched
from models.workloads import faces_nmf
from models.workloads.factorisation import Factorisation
from models.workloads.factorisation_steps import EntrySteps
from models.workloads.held_out_entries import HeldOutEntries
from models.workloads.reference import REFERENCES

Make = Callable[[str, int], Factorisation]

SMALL = ("digits-nmf", "reuters-nmf", "faces-nmf", "faces-nmf-alternating")


@pytest.fixture
def make(reference_data: Callable[[str], Mapping[str, NDArray[Any]]]) -> Make:
    def made(name: str, seed: int) -> Factorisation:
        workload = REFERENCES[name].make(seed, "cpu", reference_data(REFERENCES[name].dataset))
        assert isinstance(workload, Factorisation)
        return workload

    return made


@pytest.mark.parametrize("name", SMALL)
def test_the_largest_stable_rate_that_is_told_is_the_one_that_is_derived(name: str, make: Make) -> None:
    told = REFERENCES[name].descriptors.largest_stable_learning_rate
    derived = np.mean([make(name, seed).largest_stable_learning_rate() for seed in (1, 2, 3)])
    assert told == pytest.approx(derived, rel=0.1)


@pytest.mark.parametrize(("factor", "rises"), [(0.95, False), (1.5, True)])
def test_alternating_full_gradients_raise_the_loss_only_above_what_is_told(
    factor: float, rises: bool, make: Make
) -> None:
    workload = make("faces-nmf-alternating", 1)
    rate = factor * workload.largest_stable_learning_rate()
    record = train_batched(workload, [CONTROLS["constant"].resolve(80)], [rate], dtype=torch.float64)
    assert bool((np.diff(record.losses[:, 0]) > 1e-12).any()) is rises


def test_alternating_steps_move_one_factor_at_a_time(make: Make) -> None:
    workload = make("faces-nmf-alternating", 1)
    for step, moved in ((0, "loadings"), (1, "parts"), (2, "loadings")):
        weights = {name: factor.requires_grad_() for name, factor in workload.parameters().items()}
        workload.training_loss(weights, workload.batch(step)).backward()  # type: ignore[no-untyped-call]
        gradients = {name: weight.grad for name, weight in weights.items()}
        assert [name for name, each in gradients.items() if each is not None and bool(each.any())] == [moved]


def test_held_out_entries_change_neither_the_unit_of_the_loss_nor_the_initial_factors() -> None:
    values = np.random.default_rng(3).random((12, 8), dtype=np.float32)
    held_out = ~HeldOutEntries(values, np.random.default_rng(1), "cpu").masks["training"].numpy()
    made = []
    for each in (values, np.where(held_out, np.float32(9), values)):
        matrix = HeldOutEntries(each, np.random.default_rng(1), "cpu")
        steps = EntrySteps(matrix, seed=1, batch_size=4, device="cpu")
        made.append(Factorisation(faces_nmf.ENTRIES, matrix, steps, rank=2, seed=1, device="cpu"))
    first, second = (workload.parameters() for workload in made)
    assert all(torch.equal(factor, second[name]) for name, factor in first.items())
    losses = [float(workload.training_loss(first, workload.batch(0))) for workload in made]
    assert losses[0] == losses[1]


def test_a_batch_of_entries_has_the_loss_of_those_entries_of_the_product(make: Make) -> None:
    workload = make("faces-nmf", 1)
    weights = workload.parameters()
    rows, columns, values = workload.batch(3)
    assert bool(workload.entries["training"][rows, columns].all())
    product = (weights["loadings"] @ weights["parts"])[rows, columns]
    mean_square = float((workload.matrix.values[workload.entries["training"]] ** 2).mean())
    expected = float(((product - values) ** 2).mean()) / mean_square
    assert float(workload.training_loss(weights, workload.batch(3))) == pytest.approx(expected, rel=1e-5)


def test_reuters_starts_with_gradients_that_are_clipped(make: Make) -> None:
    workload = make("reuters-nmf", 1)
    weights = {name: factor.requires_grad_() for name, factor in workload.parameters().items()}
    workload.training_loss(weights, workload.batch(0)).backward()  # type: ignore[no-untyped-call]
    norm = float(torch.nn.utils.get_total_norm([weight.grad for weight in weights.values() if weight.grad is not None]))
    assert workload.descriptors.max_gradient_norm is not None
    assert norm > 4 * workload.descriptors.max_gradient_norm
