from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from greedylr.schedules import CONTROLS
from models.retraining import partial_results
from models.retraining.execution import run_folder
from models.retraining.job import Configuration, Job, WorkloadReference, write_job
from models.retraining.partial_results import FinishedChunk, PartialResults, training_key
from models.retraining.training_record import TrainingRecord

RATES = (0.01, 0.03, 0.1)
JOB = Job(
    workload=WorkloadReference(reference="mnist-mlp"),
    total_steps=4,
    configurations=tuple(
        Configuration(name="cosine", schedule=CONTROLS["cosine"], learning_rate=rate) for rate in RATES
    ),
    seeds=(3, 5),
)


def chunk(seed: int = 3, configurations: tuple[int, ...] = (1, 2), loss: float = 0.125) -> FinishedChunk:
    n = len(configurations)
    return FinishedChunk(
        seed=seed,
        configurations=configurations,
        record=TrainingRecord.of(
            losses=np.full((4, n), 2.0),
            rates=np.full((4, n), 0.5),
            diverged_step=np.full(n, -1),
            selection=np.full(n, loss),
            reporting=np.full(n, loss),
        ),
        seconds=1000.0,
    )


@pytest.fixture
def folder(tmp_path: Path, digits_file: Path) -> Path:
    write_job(tmp_path, JOB, digits_file)
    return tmp_path


def partial_files(folder: Path) -> Mapping[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted((folder / "partial").glob("*"))}


def test_what_was_kept_comes_back_with_its_seed(tmp_path: Path) -> None:
    kept = PartialResults(tmp_path, "key")
    kept.keep(chunk(seed=3))
    kept.keep(chunk(seed=5, configurations=(0,)))
    kept.keep_plan({"schedule": 2})
    again = PartialResults(tmp_path, "key")
    (found,) = again.finished(3)
    assert found.configurations == (1, 2)
    np.testing.assert_array_equal(found.record.losses, np.full((4, 2), 2.0))
    assert again.planned() == {"schedule": 2}
    assert again.seconds == 2000.0
    again.remove()
    assert list(tmp_path.iterdir()) == []


def test_what_another_job_left_is_taken_by_none_and_removed(tmp_path: Path) -> None:
    PartialResults(tmp_path, "key").keep(chunk())
    PartialResults(tmp_path, "key").keep_plan({"schedule": 2})
    other = PartialResults(tmp_path, "other key")
    assert other.finished(3) == []
    assert other.planned() == {}
    assert partial_files(tmp_path) == {}


@pytest.mark.parametrize("damage", [b"", b"PK\x03\x04 torn", None])
def test_file_that_is_torn_is_trained_again(tmp_path: Path, damage: bytes | None) -> None:
    PartialResults(tmp_path, "key").keep(chunk())
    (path,) = (tmp_path / "partial").glob("*.npz")
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2] if damage is None else damage)
    (tmp_path / "partial" / "seed-5.incomplete").write_bytes(b"half")
    assert PartialResults(tmp_path, "key").finished(3) == []
    assert partial_files(tmp_path) == {}


def test_finished_chunk_is_taken_into_the_result_and_not_trained_again(folder: Path) -> None:
    PartialResults(folder, training_key(JOB, folder)).keep(chunk(configurations=(1, 2), loss=0.125))
    told: list[int] = []
    result = run_folder(folder, progress=lambda _, done, __: told.append(done))
    losses = {(row.seed, row.learning_rate): row.reporting_loss for row in result.rows}
    assert losses[3, 0.03] == losses[3, 0.1] == 0.125
    assert losses[3, 0.01] != 0.125
    assert losses[5, 0.03] != 0.125
    assert result.device_seconds > 1000.0
    assert told[-1] == 6
    assert not (folder / "partial").exists()


@pytest.mark.parametrize("change", ["rate", "data", "steps"])
def test_changed_job_or_data_takes_nothing(folder: Path, tmp_path_factory: pytest.TempPathFactory, change: str) -> None:
    PartialResults(folder, training_key(JOB, folder)).keep(chunk(loss=0.125))
    if change == "data":
        with np.load(folder / "data.npz") as file:
            np.savez(folder / "data.npz", images=file["images"][::-1], labels=file["labels"][::-1])
        changed = JOB
    elif change == "rate":
        changed = replace(JOB, configurations=(*JOB.configurations[:2], replace(JOB.configurations[2], name="c")))
    else:
        changed = replace(JOB, total_steps=5)
    data = tmp_path_factory.mktemp("data") / "data.npz"
    (folder / "data.npz").rename(data)
    write_job(folder, changed, data)
    assert all(row.reporting_loss != 0.125 for row in run_folder(folder).rows)


def test_other_code_of_ours_makes_another_key(
    folder: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path_factory.mktemp("package")
    monkeypatch.setattr(partial_results, "OUR_PACKAGES", (package,))
    (package / "rule.py").write_text("FACTOR = 0.5\n")
    before = training_key(JOB, folder)
    assert training_key(JOB, folder) == before
    (package / "rule.py").write_text("FACTOR = 0.7\n")
    assert training_key(JOB, folder) != before


def test_other_code_of_the_user_makes_another_key(folder: Path) -> None:
    assert training_key(JOB, folder, "one") != training_key(JOB, folder, "other")
    assert training_key(JOB, folder, "one") == training_key(JOB, folder, "one")
