"""What every reference workload must keep; a new one is tested by being registered."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from greedylr.rule import GreedyLRParameters
from greedylr.schedules import CONTROLS, Envelope, RelativeRule, Schedule
from greedylr.workload import Workload
from models.retraining.batched_training import train_batched
from models.retraining.single_training import train_singly
from models.retraining.workload_check import checked_workload
from models.workloads.reference import REFERENCES
from pipeline.datasets import DATASETS

Make = Callable[[int], Workload]

SMALL = [name for name, reference in REFERENCES.items() if reference.size == "small"]
LARGE = [name for name, reference in REFERENCES.items() if reference.size == "large"]
ALL = [*SMALL, *(pytest.param(name, marks=pytest.mark.integration) for name in LARGE)]
# Not entries of a matrix, and not windows of text, which is split by document: a few characters come again anywhere.
OF_EXAMPLES = [
    name for name in SMALL if REFERENCES[name].descriptors.task not in ("matrix factorisation", "language modelling")
]
# Of more weights a step takes long, and fewer of them must do.
CHEAP_PARAMETERS = 8_000

FEW_SCHEDULES = {
    "cosine": CONTROLS["cosine"],
    "greedy_smooth50_anneal_ramp": CONTROLS["greedy_smooth50_anneal_ramp"],
    "robust": Schedule(
        envelope=Envelope(shape="wsd", ramp=0.05),
        rule=RelativeRule(factor=0.7, increase_factor=0.85, patience=0.025, increase_until=0.4),
    ),
}
# All kinds of decision: none, raises and falls, windows, stages, resets, absolute bounds, a guard; with envelopes.
ALL_SCHEDULES = {
    "constant": CONTROLS["constant"],
    "plateau": CONTROLS["plateau"],
    "greedy_transformers": CONTROLS["greedy_transformers"],
    **FEW_SCHEDULES,
    "guarded": Schedule(rule=RelativeRule(factor=0.5, cooldown=0.05, stages="continue", guard=0.1, interval=0.01)),
    "resetting": Schedule(
        rule=GreedyLRParameters(factor=0.5, patience=1, min_lr=0.1, reset_start=1, smooth=True, window_size=9)
    ),
}


@pytest.fixture
def make(name: str, reference_data: Callable[[str], Mapping[str, NDArray[Any]]]) -> Make:
    data = reference_data(REFERENCES[name].dataset)
    return lambda seed: REFERENCES[name].make(seed, "cpu", data)


@pytest.fixture
def workload(make: Make) -> Workload:
    return make(1)


@pytest.mark.parametrize("name", ALL)
def test_workload_keeps_the_protocol(name: str, workload: Workload) -> None:
    assert checked_workload(workload, name) is workload


@pytest.mark.parametrize("name", ALL)
def test_what_is_said_of_a_workload_is_true_of_it(name: str, workload: Workload) -> None:
    reference = REFERENCES[name]
    assert workload.descriptors == reference.descriptors
    assert workload.descriptors.name == name
    assert (reference.size == "large") == name.endswith("-large")
    assert reference.dataset in DATASETS
    assert sum(weight.numel() for weight in workload.parameters().values()) == reference.parameters
    assert {len(batch) for batch in _tensors(workload.batch(0))} == {workload.descriptors.batch_size}


@pytest.mark.parametrize("name", ALL)
def test_seed_fixes_weights_and_batches(workload: Workload, make: Make) -> None:
    same, other = make(1), make(2)
    weights, same_weights, other_weights = (one.parameters() for one in (workload, same, other))
    assert all(torch.equal(weight, same_weights[key]) for key, weight in weights.items())
    assert any(not torch.equal(weight, other_weights[key]) for key, weight in weights.items())
    for step in (0, 7, workload.descriptors.total_steps - 1, 3):  # in any order
        batch, same_batch, other_batch = (_tensors(one.batch(step)) for one in (workload, same, other))
        assert all(torch.equal(*pair) for pair in zip(batch, same_batch, strict=True))
        assert any(not torch.equal(*pair) for pair in zip(batch, other_batch, strict=True))


@pytest.mark.parametrize("name", ALL)
def test_every_seed_has_the_same_splits(workload: Workload, make: Make) -> None:
    mine, theirs = _examples(workload), _examples(make(2))
    assert all(torch.equal(numbers, theirs[split]) for split, numbers in mine.items())
    weights = workload.parameters()
    for split in ("selection", "reporting"):
        assert float(workload.evaluate(weights, split)) == float(make(2).evaluate(weights, split))


@pytest.mark.parametrize("name", ALL)
def test_no_example_is_in_two_splits(workload: Workload) -> None:
    examples = _examples(workload)
    assert set(examples) == {"training", "selection", "reporting"}
    assert all(len(numbers) > 0 for numbers in examples.values())
    together = torch.cat(list(examples.values()))
    assert len(together.unique()) == len(together)


@pytest.mark.parametrize("name", [*OF_EXAMPLES, "diamonds-mlp-large"])
def test_no_example_comes_again_in_another_split(
    name: str, workload: Workload, reference_data: Callable[[str], Mapping[str, NDArray[Any]]]
) -> None:
    data = reference_data(REFERENCES[name].dataset)
    content = next(data[key] for key in ("images", "inputs", "words", "centres") if key in data)
    found = {
        split: {row.tobytes() for row in content[numbers.numpy()]} for split, numbers in _examples(workload).items()
    }
    assert not found["training"] & found["selection"]
    assert not found["reporting"] & (found["training"] | found["selection"])


@pytest.mark.parametrize("name", SMALL)
def test_loss_falls_at_the_usual_rate(name: str, workload: Workload) -> None:
    steps, share = (150 if REFERENCES[name].parameters < CHEAP_PARAMETERS else 100), 0.8
    if workload.descriptors.task == "text classification":
        # Few of its words tell what a review thinks: the loss falls slowly, and not far below that of guessing.
        steps, share = 300, 0.9
    record = train_batched(workload, [CONTROLS["cosine"].resolve(steps)], [workload.descriptors.usual_learning_rate])
    initial = workload.parameters()
    assert record.losses[-10:].mean() < share * record.losses[:10].mean()
    assert record.selection_loss[0] < share * float(workload.evaluate(initial, "selection"))
    assert record.reporting_loss[0] < share * float(workload.evaluate(initial, "reporting"))
    assert record.diverged_step.tolist() == [-1]


@pytest.mark.parametrize("name", SMALL)
def test_batched_training_equals_training_one_by_one(name: str, workload: Workload) -> None:
    steps = 200 if REFERENCES[name].parameters < CHEAP_PARAMETERS else 20
    _assert_batched_equals_single(workload, FEW_SCHEDULES, steps)


# Plain SGD, momentum with a projection, Nesterov's with clipping, Adam, AdamW.
@pytest.mark.parametrize(
    "name", ["breast-cancer-logistic", "digits-nmf", "diamonds-linear", "wine-mlp", "diamonds-mlp"]
)
def test_batched_training_equals_training_one_by_one_under_every_schedule(workload: Workload) -> None:
    rates = _assert_batched_equals_single(workload, ALL_SCHEDULES, 200)
    moved = {name for name, rate in zip(ALL_SCHEDULES, np.ptp(rates, axis=0), strict=True) if rate > 0}
    assert moved == set(ALL_SCHEDULES) - {"constant"}


@pytest.mark.integration
@pytest.mark.parametrize("name", LARGE)
def test_large_workload_trains_a_step_as_alone(workload: Workload) -> None:
    _assert_batched_equals_single(workload, {"cosine": CONTROLS["cosine"]}, 2)


def _assert_batched_equals_single(
    workload: Workload, schedules: Mapping[str, Schedule], steps: int
) -> NDArray[np.float64]:
    """Return the rates of the batched training, (steps, n_schedules)."""
    resolved = [schedule.resolve(steps) for schedule in schedules.values()]
    rates = [workload.descriptors.usual_learning_rate / 3] * len(resolved)
    batched = train_batched(workload, resolved, rates, dtype=torch.float64)
    single = train_singly(workload, resolved, rates, dtype=torch.float64)
    for field in ("losses", "rates", "selection_loss", "reporting_loss"):
        np.testing.assert_allclose(getattr(batched, field), getattr(single, field), rtol=1e-9, err_msg=field)
    assert batched.diverged_step.tolist() == single.diverged_step.tolist()
    assert np.isfinite(batched.reporting_loss).all()
    return batched.rates


def _tensors(batch: Any) -> list[Tensor]:
    return [batch] if isinstance(batch, Tensor) else list(batch)


def _examples(workload: Workload) -> dict[str, Tensor]:
    """Return the numbers of each split's examples: rows, or entries of a matrix."""
    rows, entries = getattr(workload, "rows", None), getattr(workload, "entries", None)
    assert (rows is None) != (entries is None)
    if rows is not None:
        return dict(rows)
    return {split: mask.flatten().nonzero().squeeze(1) for split, mask in entries.items()}
