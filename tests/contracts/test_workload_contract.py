"""What every reference workload must keep; a new one is tested by being registered."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from greedylr.rule import GreedyLRParameters
from greedylr.schedules import CONTROLS, Envelope, RelativeRule, Schedule
from greedylr.workload import Workload
from models.retraining.batched_training import train_batched
from models.retraining.single_training import train_singly
from models.retraining.workload_check import checked_workload
from models.workloads.reference import REFERENCES

ReferenceData = Callable[[str], Mapping[str, NDArray[Any]]]

NAMES = sorted(REFERENCES)

# All kinds of decision: none, raises and falls, windows, stages, resets, absolute bounds, a guard; with envelopes.
SCHEDULES = {
    "constant": CONTROLS["constant"],
    "cosine": CONTROLS["cosine"],
    "plateau": CONTROLS["plateau"],
    "greedy_transformers": CONTROLS["greedy_transformers"],
    "greedy_smooth50_anneal_ramp": CONTROLS["greedy_smooth50_anneal_ramp"],
    "robust": Schedule(
        envelope=Envelope(shape="wsd", ramp=0.05),
        rule=RelativeRule(factor=0.7, increase_factor=0.85, patience=0.025, increase_until=0.4),
    ),
    "guarded": Schedule(rule=RelativeRule(factor=0.5, cooldown=0.05, stages="continue", guard=0.1, interval=0.01)),
    "resetting": Schedule(
        rule=GreedyLRParameters(factor=0.5, patience=1, min_lr=0.1, reset_start=1, smooth=True, window_size=9)
    ),
}


@pytest.fixture(params=NAMES)
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def workload(name: str, reference_data: ReferenceData) -> Workload:
    return REFERENCES[name].make(1, "cpu", reference_data(REFERENCES[name].dataset))


def test_workload_keeps_the_protocol(name: str, workload: Workload) -> None:
    assert checked_workload(workload, name) is workload


def test_name_and_data_set_are_known_under_the_registered_name(name: str, workload: Workload) -> None:
    assert workload.descriptors.name == name
    assert workload.descriptors == REFERENCES[name].descriptors


def test_seed_fixes_weights_and_batches(name: str, workload: Workload, reference_data: ReferenceData) -> None:
    same, other = (REFERENCES[name].make(seed, "cpu", reference_data(REFERENCES[name].dataset)) for seed in (1, 2))
    for key, weight in workload.parameters().items():
        assert torch.equal(weight, same.parameters()[key])
    assert any(not torch.equal(weight, other.parameters()[key]) for key, weight in workload.parameters().items())
    for step in (0, 7, 299, 3):  # in any order
        for mine, theirs, foreign in zip(workload.batch(step), same.batch(step), other.batch(step), strict=True):
            assert torch.equal(mine, theirs)
            assert not torch.equal(mine, foreign)


def test_every_seed_has_the_same_splits(name: str, workload: Workload, reference_data: ReferenceData) -> None:
    other = REFERENCES[name].make(2, "cpu", reference_data(REFERENCES[name].dataset))
    weights = workload.parameters()
    for split in ("selection", "reporting"):
        assert float(workload.evaluate(weights, split)) == float(other.evaluate(weights, split))


def test_splits_are_disjoint_and_cover_everything(workload: Workload) -> None:
    rows, entries = getattr(workload, "rows", None), getattr(workload, "entries", None)
    if rows is not None:
        together = torch.cat([rows["training"], rows["selection"], rows["reporting"]])
        assert torch.equal(together.sort().values, torch.arange(len(together)))
    else:
        assert entries is not None
        times = sum(entries[split].int() for split in ("training", "selection", "reporting"))
        assert torch.equal(times, torch.ones_like(times))


def test_loss_falls_at_the_usual_rate(workload: Workload) -> None:
    schedule = CONTROLS["cosine"].resolve(150)
    record = train_batched(workload, [schedule], [workload.descriptors.usual_learning_rate])
    initial = float(workload.evaluate(workload.parameters(), "reporting"))
    assert record.losses[-10:].mean() < 0.6 * record.losses[:10].mean()
    assert record.reporting_loss[0] < 0.6 * initial
    assert record.diverged_step.tolist() == [-1]


def test_batched_training_equals_training_one_by_one(workload: Workload) -> None:
    usual = workload.descriptors.usual_learning_rate
    names = [name for name in SCHEDULES for _ in range(2)]
    schedules = [SCHEDULES[name].resolve(200) for name in names]
    rates = [usual / 9, usual] * len(SCHEDULES)
    batched = train_batched(workload, schedules, rates, dtype=torch.float64)
    single = train_singly(workload, schedules, rates, dtype=torch.float64)
    for field in ("losses", "rates", "selection_loss", "reporting_loss"):
        np.testing.assert_allclose(getattr(batched, field), getattr(single, field), rtol=1e-9, err_msg=field)
    assert batched.diverged_step.tolist() == single.diverged_step.tolist()
    moved = {name for name, rate in zip(names, np.ptp(batched.rates, axis=0) > 0, strict=True) if rate}
    assert moved == set(SCHEDULES) - {"constant"}
