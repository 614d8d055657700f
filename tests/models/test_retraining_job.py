import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from greedylr.probe import Probe
from greedylr.schedules import CONTROLS, RelativeRule, Schedule
from models.retraining.execution import run_folder, run_job
from models.retraining.job import Configuration, Job, WorkloadReference, read_job, read_result, write_job

MLP = WorkloadReference(reference="mnist-mlp")
COSINE = Configuration(name="cosine", schedule=CONTROLS["cosine"], learning_rate=0.1)
GREEDY = Configuration(name="greedy", schedule=CONTROLS["greedy_smooth50_anneal"], learning_rate=0.05)
SMALL = Job(workload=MLP, total_steps=60, configurations=(COSINE, GREEDY), seeds=(3, 5), curve_points=6)


def test_job_and_result_cross_as_a_folder(tmp_path: Path, digits_file: Path) -> None:
    write_job(tmp_path / "job", SMALL, digits_file)
    job, data = read_job(tmp_path / "job")
    assert job == SMALL
    assert sorted(data) == ["images", "labels"]
    result = run_folder(tmp_path / "job")
    stored = read_result(tmp_path / "job")
    assert replace(stored, curves=result.curves) == result
    np.testing.assert_array_equal(stored.curves.losses, result.curves.losses)
    assert [(row.name, row.seed) for row in result.rows] == [("cosine", 3), ("cosine", 5), ("greedy", 3), ("greedy", 5)]
    assert result.descriptors.name == "mnist-mlp"
    assert result.curves.losses.shape == result.curves.rates.shape == (2, 2, 6)
    assert result.curves.steps.tolist() == [4.5, 14.5, 24.5, 34.5, 44.5, 54.5]


def test_replicas_of_a_seed_are_pairs(digits: Mapping[str, NDArray[Any]]) -> None:
    twice = replace(SMALL, configurations=(COSINE, replace(COSINE, name="again")))
    rows = run_job(twice, digits).rows
    for seed in SMALL.seeds:
        first, second = (row for row in rows if row.seed == seed)
        assert first.reporting_loss == second.reporting_loss
        assert first.initial_reporting_loss > 2.0
        assert first.reporting_loss is not None
        assert first.reporting_loss < 1.5


def test_diverged_replica_has_no_loss_and_says_when(tmp_path: Path, digits_file: Path) -> None:
    nmf = WorkloadReference(reference="digits-nmf")
    job = Job(workload=nmf, total_steps=60, configurations=(COSINE, replace(COSINE, learning_rate=1e6)), seeds=(1,))
    write_job(tmp_path, job, digits_file)
    run_folder(tmp_path)
    good, diverged = read_result(tmp_path).rows
    assert good.diverged_step is None
    assert diverged.selection_loss is None
    assert diverged.reporting_loss is None
    assert diverged.diverged_step is not None
    curves = read_result(tmp_path).curves
    assert np.isfinite(curves.losses[0]).all()
    assert np.isnan(curves.losses[1, 0, -1])


def test_progress_counts_replicas_and_ends_with_all_of_them(digits: Mapping[str, NDArray[Any]]) -> None:
    told: list[tuple[str, int, int]] = []
    run_job(SMALL, digits, progress=lambda *report: told.append(report))
    assert told[0][1] == 0
    assert told[-1] == ("retraining", 4, 4)
    assert [done for _, done, _ in told] == sorted(done for _, done, _ in told)


def test_job_without_configurations_only_looks_at_the_workload(digits: Mapping[str, NDArray[Any]]) -> None:
    result = run_job(Job(workload=MLP), digits)
    assert result.rows == ()
    assert result.descriptors.momentum == 0.9
    assert result.total_steps == result.descriptors.total_steps
    assert result.parameters == 196 * 32 + 32 + 32 * 10 + 10


@pytest.mark.parametrize("device", ["cuda:97", "abacus"])
def test_device_that_does_not_exist_is_refused(device: str, digits: Mapping[str, NDArray[Any]]) -> None:
    with pytest.raises(ValueError, match=f"device must be one that torch has here, got '{device}'"):
        run_job(replace(SMALL, device=device), digits)


def test_run_too_short_for_a_schedule_is_refused_by_its_name(digits: Mapping[str, NDArray[Any]]) -> None:
    plateau = Configuration(name="plateau", schedule=CONTROLS["plateau"], learning_rate=0.1)
    with pytest.raises(ValueError, match="configuration 'plateau': a run must have at least"):
        run_job(replace(SMALL, total_steps=1, configurations=(plateau,)), digits)


def test_users_workload_is_never_run_in_this_process(tmp_path: Path) -> None:
    job = Job(workload=WorkloadReference(factory="train:workload", root=str(tmp_path)))
    with pytest.raises(ValueError, match="run_in_child"):
        run_job(job, {})


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({}, "either a reference or a factory, got None and None"),
        ({"reference": "mnist"}, "the reference workload must be one of 'mnist-mlp', .*, got 'mnist'"),
        ({"factory": "train", "root": "."}, "'module:factory' or 'path/file.py:factory', got 'train'"),
        ({"factory": "train:make", "root": "no/such/folder"}, "root must be the folder"),
    ],
)
def test_workload_reference_that_means_nothing_is_refused(fields: dict[str, str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        WorkloadReference(**fields)


def test_seed_given_twice_is_refused() -> None:
    with pytest.raises(ValueError, match=r"differ from one another, got \(3, 3\)"):
        replace(SMALL, seeds=(3, 3))


def test_rate_of_zero_is_refused() -> None:
    with pytest.raises(ValueError, match="learning_rate must be > 0, got 0"):
        replace(COSINE, learning_rate=0)


def test_unknown_field_of_a_job_file_is_refused_with_its_path(tmp_path: Path, digits_file: Path) -> None:
    write_job(tmp_path, SMALL, digits_file)
    path = tmp_path / "job.json"
    stored = json.loads(path.read_text())
    stored["configurations"][0]["schedule"]["envelop"] = {}
    path.write_text(json.dumps(stored))
    with pytest.raises(ValueError, match=r"job.json.configurations\[0\].schedule.envelop is no known field"):
        read_job(tmp_path)


def test_data_file_with_pickled_objects_is_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "objects.npz", images=np.array([{}], dtype=object))
    write_job(tmp_path / "job", SMALL, tmp_path / "objects.npz")
    with pytest.raises(ValueError, match="allow_pickle=False"):
        read_job(tmp_path / "job")


def test_new_job_in_a_folder_takes_the_old_result_away(tmp_path: Path, digits_file: Path) -> None:
    write_job(tmp_path, SMALL, digits_file)
    run_folder(tmp_path)
    write_job(tmp_path, SMALL, digits_file)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data.npz", "job.json"]


def test_schedule_that_restores_weights_is_retrained_like_any_other(digits: Mapping[str, NDArray[Any]]) -> None:
    restoring = replace(GREEDY, schedule=Schedule(rule=RelativeRule(factor=0.7), probe=Probe(share=0.2)))
    rows = run_job(replace(SMALL, configurations=(COSINE, restoring)), digits).rows
    assert all(row.reporting_loss is not None and row.reporting_loss < 2.0 for row in rows)
