"""Probe and rollback in retraining: replicas that go back to what was kept of them, batched and one by one."""

import warnings
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from greedylr.probe import Probe
from greedylr.rate_controller import RateController
from greedylr.rollback import Rollback
from greedylr.rule import GreedyLRParameters
from greedylr.schedules import CONTROLS, Envelope, RelativeRule, ResolvedSchedule, Schedule
from greedylr.workload import Split, Workload, WorkloadDescriptors
from models.batched_schedule import Restoration
from models.retraining.batched_snapshots import BatchedSnapshots
from models.retraining.batched_training import train_batched
from models.retraining.replica_state import ReplicaState, finite_replicas
from models.retraining.single_training import train_singly
from models.retraining.training_record import TrainingRecord
from models.workloads.reference import REFERENCES

STEPS = 200
RULE = RelativeRule(factor=0.7, increase_factor=0.85, interval=0.01, window=0.02)
PLAIN = Schedule(envelope=Envelope(shape="wsd", ramp=0.05), rule=RULE)
PROBE, ROLLBACK = Probe(share=0.1, turn=0.5), Rollback(guard=0.1, limit=50)
EXTRAS = {
    "none": PLAIN,
    "probe": replace(PLAIN, probe=PROBE),
    "rollback": replace(PLAIN, rollback=ROLLBACK),
    "both": replace(PLAIN, probe=PROBE, rollback=ROLLBACK),
    "probe without a rule": replace(CONTROLS["cosine"], probe=replace(PROBE, share=0.2)),
}
TRAINERS = pytest.mark.parametrize("train", [train_batched, train_singly])


def events_of(schedule: ResolvedSchedule, rate: float, losses: NDArray[np.float64]) -> list[str | None]:
    """What the scalar controller asks for after each of these losses."""
    controller, events = RateController(schedule, [rate]), list[str | None]()
    for loss in losses:
        controller.observe(loss)
        events.append(controller.take_event())
    return events


def trained_both_ways(
    workload: Workload, schedules: list[ResolvedSchedule], rates: list[float]
) -> list[list[str | None]]:
    """Train batched and one by one, compare, and return what was asked for at each step of each replica."""
    batched = train_batched(workload, schedules, rates, dtype=torch.float64)
    single = train_singly(workload, schedules, rates, dtype=torch.float64)
    for field in ("losses", "rates", "selection_loss", "reporting_loss"):
        np.testing.assert_allclose(getattr(batched, field), getattr(single, field), rtol=1e-9, err_msg=field)
    assert batched.diverged_step.tolist() == single.diverged_step.tolist()
    return [events_of(*each) for each in zip(schedules, rates, batched.losses.T, strict=True)]


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("mnist-mlp", {}),
        ("mnist-mlp", {"optimizer": "adam", "usual_learning_rate": 0.005}),
        ("digits-nmf", {}),
    ],
    ids=["sgd with momentum", "adam", "projected"],
)
def test_restored_replicas_equal_trainings_one_by_one(
    name: str, changes: dict[str, Any], reference_data: Callable[[str], Mapping[str, Any]]
) -> None:
    workload = REFERENCES[name].make(1, "cpu", reference_data(REFERENCES[name].dataset))
    workload.descriptors = replace(workload.descriptors, **changes)
    usual = workload.descriptors.usual_learning_rate
    schedules = [schedule.resolve(STEPS) for schedule in EXTRAS.values() for _ in range(2)]
    events = trained_both_ways(workload, schedules, [usual / 9, usual] * len(EXTRAS))
    seen = [Counter(each) for each in events]
    assert [count["probe"] for count in seen] == [0, 0, 1, 1, 0, 0, 1, 1, 1, 1]
    assert sum(count["rollback"] for count in seen) > 3
    assert len({each.index("probe") for each in events if "probe" in each}) > 2


@pytest.mark.integration
@pytest.mark.parametrize("name", [name for name, reference in REFERENCES.items() if reference.size == "small"])
def test_restored_replicas_of_every_workload_equal_trainings_one_by_one(
    name: str, reference_data: Callable[[str], Mapping[str, Any]]
) -> None:
    workload = REFERENCES[name].make(1, "cpu", reference_data(REFERENCES[name].dataset))
    schedules = [EXTRAS[extra].resolve(STEPS) for extra in ("probe", "rollback", "both")]
    events = trained_both_ways(workload, schedules, [workload.descriptors.usual_learning_rate] * 3)
    assert ["probe" in each for each in events] == [True, False, True]


class Slope:
    """Loss w - 3: SGD takes the rate off w each step; the loss of the steps in `accidents` is not finite."""

    batched = True
    descriptors = WorkloadDescriptors(
        name="slope", family="toy", momentum=0.0, total_steps=20, batch_size=1, usual_learning_rate=1.0
    )

    def __init__(self, *accidents: int) -> None:
        self.accidents = accidents

    def parameters(self) -> dict[str, Tensor]:
        return {"w": torch.zeros(1)}

    def batch(self, step: int) -> Tensor:
        return torch.tensor(float("nan") if step in self.accidents else 1.0)

    def training_loss(self, parameters: Mapping[str, Tensor], batch: Any) -> Tensor:
        loss: Tensor = parameters["w"].sum() * batch - 3
        return loss

    def evaluate(self, parameters: Mapping[str, Tensor], split: Split) -> Tensor:
        return parameters["w"].sum()

    def project(self, parameters: dict[str, Tensor]) -> dict[str, Tensor]:
        return parameters


def trained(train: Any, workload: Slope, rollback: Rollback | None, **changes: Any) -> TrainingRecord:
    # Never moves the rate by itself, and looks at every loss.
    still = GreedyLRParameters(factor=0.5, increase_factor=1.0, patience=99)
    schedule = Schedule(**{"rule": still, "rollback": rollback, **changes}).resolve(20)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="GreedyLR gives up")
        record: TrainingRecord = train(workload, [schedule], [1.0])
    return record


@TRAINERS
def test_replica_goes_back_to_its_best_weights_after_a_loss_that_is_not_finite(train: Any) -> None:
    record = trained(train, Slope(5), Rollback())
    assert record.diverged_step.tolist() == [-1]
    # Six steps of 1 to the best, which is kept after its own step; then it goes on from there at half the rate.
    np.testing.assert_array_equal(record.losses[:9, 0], [-3, -4, -5, -6, -7, np.nan, -8, -8.5, -9])
    np.testing.assert_array_equal(record.rates[[5, 6], 0], [1.0, 0.5])


@TRAINERS
def test_replica_diverges_where_its_rollback_gives_up(train: Any) -> None:
    record = trained(train, Slope(5, 8, 11, 14), Rollback(limit=2))
    assert record.diverged_step.tolist() == [11]
    assert np.isnan(record.losses[12:]).all()
    assert np.isnan(record.reporting_loss).all()


@TRAINERS
def test_replica_without_a_rollback_diverges_at_its_first_accident(train: Any) -> None:
    assert trained(train, Slope(5), None).diverged_step.tolist() == [5]


@TRAINERS
def test_replica_lives_with_ruined_weights_until_the_decision_that_restores_them(train: Any) -> None:
    rule = RelativeRule(factor=0.5, increase_factor=1.0, patience=0.5, interval=0.2, window=0.0)
    record = trained(train, Slope(9), Rollback(), rule=rule)
    assert record.diverged_step.tolist() == [-1]
    # Decisions after 4, 8 and 12 steps: w is -8 at the best.
    np.testing.assert_array_equal(record.losses[8:13, 0], [-11, np.nan, np.nan, np.nan, -11])


@TRAINERS
def test_replica_diverges_in_a_final_anneal_which_has_no_decisions(train: Any) -> None:
    anneal = Envelope(shape="final_anneal")
    assert trained(train, Slope(16), Rollback(), envelope=anneal).diverged_step.tolist() == [16]
    assert trained(train, Slope(15), Rollback(), envelope=anneal).diverged_step.tolist() == [-1]


@TRAINERS
def test_sweep_that_meets_a_loss_that_is_not_finite_goes_back_to_the_start(train: Any) -> None:
    schedule = Schedule(probe=Probe(share=0.1, lowest=0.5, highest=8.0)).resolve(100)
    record = train(Slope(6), [schedule], [1.0])
    assert record.diverged_step.tolist() == [-1]
    assert np.isnan(record.losses[6, 0])
    assert record.losses[7, 0] == -3
    assert train(Slope(6, 7), [schedule], [1.0]).diverged_step.tolist() == [7]


def test_accident_of_one_replica_restores_no_other() -> None:
    # The same batch for all; only the second one's rate carries it over the edge.
    class Cliff(Slope):
        def training_loss(self, parameters: Mapping[str, Tensor], batch: Any) -> Tensor:
            loss: Tensor = (30 + parameters["w"].sum()).log() * batch
            return loss

    schedule = Schedule(rule=GreedyLRParameters(factor=0.5, patience=99), rollback=Rollback(limit=20)).resolve(20)
    alone = train_batched(Cliff(), [schedule], [1.0])
    beside = train_batched(Cliff(), [schedule, schedule], [1.0, 400.0])
    assert np.isnan(beside.losses[:, 1]).any()
    assert beside.diverged_step.tolist() == [-1, -1]
    np.testing.assert_array_equal(alone.losses[:, 0], beside.losses[:, 0])


def test_copies_of_single_replicas_come_back_with_their_optimizer_state() -> None:
    weights, state = {"w": torch.tensor([[1.0], [2.0], [3.0]])}, ReplicaState()
    snapshots = BatchedSnapshots([True, False, True], weights)
    none, all_but_one = torch.tensor([False] * 3), torch.tensor([True, False, True])
    buffer = state.of("w", weights["w"]).copy_(torch.tensor([[10.0], [20.0], [30.0]]))
    weights["w"].mul_(2)
    weights["w"][2] = torch.nan  # a best that its own step has ruined
    snapshots.act(Restoration(all_but_one, none), weights, state)
    for tensor in (weights["w"], buffer):
        tensor.fill_(-1.0)
    snapshots.act(Restoration(none, all_but_one), weights, state)
    # The last one goes back to what it began with, its state to zero.
    assert weights["w"].flatten().tolist() == [2.0, -1.0, 3.0]
    assert buffer.flatten().tolist() == [10.0, -1.0, 0.0]


def test_replica_is_finite_if_all_of_its_numbers_are() -> None:
    inf, nan = float("inf"), float("nan")
    rows = torch.tensor([[1.0, 2.0], [nan, 2.0], [1.0, inf], [-inf, 2.0], [3e38, 3e38]])
    assert finite_replicas({"w": rows, "b": torch.zeros(5)}).tolist() == [True, False, False, False, True]
