"""Jobs killed for real, at moments nobody chose, and begun again."""

import json
import random
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from greedylr.schedules import CONTROLS
from models.retraining.execution import run_folder
from models.retraining.job import Configuration, Job, JobResult, WorkloadReference, read_result, write_job

ROOT = Path(__file__).resolve().parents[2]
SCHEDULES = ("cosine", "plateau", "greedy_smooth50_anneal")
# Two chunks a seed: more configurations than one program takes.
JOB = Job(
    workload=WorkloadReference(reference="mnist-mlp"),
    total_steps=60,
    configurations=tuple(
        Configuration(name=SCHEDULES[place % 3], schedule=CONTROLS[SCHEDULES[place % 3]], learning_rate=float(rate))
        for place, rate in enumerate(np.geomspace(1e-3, 1e3, 100))
    ),
    seeds=(1, 2, 3, 4),
)
CHUNKS = 8


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory, digits_file: Path) -> JobResult:
    folder = tmp_path_factory.mktemp("undisturbed")
    write_job(folder, JOB, digits_file)
    return run_folder(folder)


def started(folder: Path) -> "subprocess.Popen[str]":
    command = [sys.executable, "-m", "models.retraining.job", str(folder)]
    return subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True)


def finished_chunks(folder: Path) -> Mapping[str, int]:
    return {path.name: path.stat().st_mtime_ns for path in (folder / "partial").glob("*.npz")}


def kill_after(folder: Path, chunks: int, delay: float) -> None:
    """Kill the program of a job a moment after so many chunks are finished."""
    process = started(folder)
    while len(finished_chunks(folder)) < chunks:
        assert process.poll() is None, process.communicate()[1]
        time.sleep(0.002)
    time.sleep(delay)
    process.kill()
    process.communicate()
    assert not (folder / "result.json").exists()


def require_same(result: JobResult, undisturbed: JobResult) -> None:
    assert replace(result, device_seconds=0.0, curves=undisturbed.curves) == replace(undisturbed, device_seconds=0.0)
    np.testing.assert_array_equal(result.curves.losses, undisturbed.curves.losses)
    np.testing.assert_array_equal(result.curves.rates, undisturbed.curves.rates)


def test_the_same_job_gives_the_same_bits_twice(undisturbed: JobResult, tmp_path: Path, digits_file: Path) -> None:
    write_job(tmp_path, JOB, digits_file)
    require_same(run_folder(tmp_path), undisturbed)


def test_a_killed_job_goes_on_and_ends_as_if_it_had_not_been_killed(
    undisturbed: JobResult, tmp_path: Path, digits_file: Path
) -> None:
    write_job(tmp_path, JOB, digits_file)
    kill_after(tmp_path, 2, random.uniform(0.0, 0.05))
    kept = finished_chunks(tmp_path)
    write_job(tmp_path, JOB, digits_file)  # as a refresh does that finds no result
    (tmp_path / "partial" / "seed-9-configurations-0-49.incomplete").write_bytes(b"what a kill leaves of a file")
    told: list[int] = []
    copied = tmp_path / "kept"
    shutil.copytree(tmp_path / "partial", copied)
    result = run_folder(tmp_path, progress=lambda _, done, __: told.append(done))
    require_same(result, undisturbed)
    assert len(kept) >= 2
    assert told[-1] == len(JOB.seeds) * len(JOB.configurations)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "curves.npz",
        "data.npz",
        "job.json",
        "kept",
        "result.json",
    ]
    spent = sum(float(np.load(path)["seconds"]) for path in copied.glob("*.npz"))
    assert 0 < spent < result.device_seconds


@pytest.mark.integration
def test_a_job_killed_again_and_again_ends_with_the_same_bits(
    undisturbed: JobResult, tmp_path: Path, digits_file: Path
) -> None:
    write_job(tmp_path, JOB, digits_file)
    generator = random.Random(7)
    before: Mapping[str, int] = {}
    for chunks in (1, 2, 3, 4, 5):
        kill_after(tmp_path, chunks, generator.uniform(0.0, 0.2 if chunks < 4 else 0.05))
        kept = finished_chunks(tmp_path)
        assert before.items() <= kept.items()  # none was trained again
        before = kept
        if len(kept) >= CHUNKS - 1:
            break
    process = started(tmp_path)
    _, told = process.communicate(timeout=300)
    assert process.returncode == 0, told
    require_same(read_result(tmp_path), undisturbed)
    assert json.loads((tmp_path / "result.json").read_text())["replicas_at_once"] == 96
