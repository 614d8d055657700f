from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from flows.retraining import results_of
from greedylr.schedules import CONTROLS
from greedylr.workload import Split, WorkloadDescriptors
from models.retraining.errors import WorkloadFailedError
from models.retraining.execution import run_job
from models.retraining.job import Configuration, Job, JobResult, WorkloadReference

FAR_TOO_MANY = 2**50


class Points:
    """Four weights drawn to points that differ by split."""

    batched = True
    descriptors = WorkloadDescriptors(
        name="points", family="toy", momentum=0.0, total_steps=6, batch_size=1, usual_learning_rate=0.1
    )

    def __init__(self, seed: int) -> None:
        self.seed = seed

    def parameters(self) -> dict[str, Tensor]:
        return {"w": torch.full((4,), float(self.seed))}

    def batch(self, step: int) -> Tensor:
        return torch.tensor(float(step))

    def training_loss(self, parameters: Mapping[str, Tensor], batch: Any) -> Tensor:
        return (parameters["w"] - 0.1 * batch).square().mean()

    def evaluate(self, parameters: Mapping[str, Tensor], split: Split) -> Tensor:
        return (parameters["w"] - (1.0 if split == "selection" else 2.0)).square().mean()

    def project(self, parameters: dict[str, Tensor]) -> dict[str, Tensor]:
        return parameters


class RaisingAtStep3(Points):
    def batch(self, step: int) -> Tensor:
        if self.seed == 7 and step == 3:
            raise OSError("the shard of step 3 is gone")
        return super().batch(step)


class AskingForTooMuch(Points):
    def training_loss(self, parameters: Mapping[str, Tensor], batch: Any) -> Tensor:
        return super().training_loss(parameters, batch) + torch.empty(FAR_TOO_MANY).mean()


class Leaking(Points):
    def evaluate(self, parameters: Mapping[str, Tensor], split: Split) -> Tensor:
        return super().evaluate(parameters, "selection")


def trained(tmp_path: Path, factory: Callable[[int, str], object], seeds: tuple[int, ...] = (5, 7, 9)) -> JobResult:
    configurations = tuple(
        Configuration(name="cosine", schedule=CONTROLS["cosine"], learning_rate=rate) for rate in (0.1, 0.3)
    )
    reference = WorkloadReference(factory="train:workload", root=str(tmp_path))
    told: list[int] = []
    result = run_job(
        Job(workload=reference, configurations=configurations, seeds=seeds, curve_points=3),
        {},
        factory=factory,
        progress=lambda _, done, __: told.append(done),
    )
    assert told[-1] == len(result.rows)
    return result


def test_seed_that_raises_is_recorded_with_its_reason_and_the_others_go_on(tmp_path: Path) -> None:
    result = trained(tmp_path, lambda seed, _: RaisingAtStep3(seed))
    failed = [row for row in result.rows if row.failed is not None]
    assert [(row.name, row.seed) for row in failed] == [("cosine", 7), ("cosine", 7)]
    assert failed[0].failed is not None
    assert failed[0].failed.startswith("train:workload raised OSError: the shard of step 3 is gone")
    assert (failed[0].reporting_loss, failed[0].initial_reporting_loss, failed[0].diverged_step) == (None, None, None)
    others = [row for row in result.rows if row.seed != 7]
    assert all(row.reporting_loss is not None and row.failed is None for row in others)
    alone = trained(tmp_path, lambda seed, _: Points(seed), seeds=(5, 9))
    assert [row.reporting_loss for row in others] == [row.reporting_loss for row in alone.rows]
    np.testing.assert_array_equal(result.curves.losses[:, [0, 2]], alone.curves.losses)
    assert np.isnan(result.curves.losses[:, 1]).all()


def test_failed_rows_reach_the_comparison_as_failed_and_not_as_diverged(tmp_path: Path) -> None:
    results = results_of(trained(tmp_path, lambda seed, _: RaisingAtStep3(seed)))
    assert results.failed.tolist() == [False, True, False] * 2
    assert not results.diverged.any()


def test_factory_that_raises_for_the_first_seed_fails_that_one_alone(tmp_path: Path) -> None:
    def factory(seed: int, _: str) -> Points:
        if seed == 5:
            raise KeyError("no data of seed 5")
        return Points(seed)

    assert [row.failed is None for row in trained(tmp_path, factory).rows] == [False, True, True] * 2


def test_job_of_which_every_seed_fails_has_failed_with_the_first_reason(tmp_path: Path) -> None:
    with pytest.raises(WorkloadFailedError, match="'selection' and 'reporting' must be different data"):
        trained(tmp_path, lambda seed, _: Leaking(seed))


def test_single_replica_that_is_too_large_is_told_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(WorkloadFailedError, match="must fit into the memory of cpu, but ran out of it with a single"):
        trained(tmp_path, lambda seed, _: AskingForTooMuch(seed), seeds=(5,))
