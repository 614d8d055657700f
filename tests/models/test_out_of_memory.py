"""Workloads that ask for more memory than there is, in a process whose address space is limited."""

from pathlib import Path

import pytest

from greedylr.schedules import CONTROLS
from models.retraining.child import run_in_child
from models.retraining.job import Configuration, Job, JobResult, WorkloadReference, write_job

REPLICAS = 16

# A replica takes three tensors of (rows, 1024) floats or so: some 60 MiB with 5,000 rows, where 500 are left.
HUNGRY = """
import os, pathlib, resource
import torch
from greedylr.workload import WorkloadDescriptors

class Hungry:
    batched = True
    descriptors = WorkloadDescriptors(
        name="hungry", family="own", momentum=0.0, total_steps=4, batch_size=8, usual_learning_rate=0.01
    )
    def parameters(self):
        return {"w": torch.ones(1024)}
    def batch(self, step):
        return torch.linspace(0, 1, ROWS)[:, None]
    def training_loss(self, parameters, batch):
        return (parameters["w"] * batch - 2).square().mean()
    def evaluate(self, parameters, split):
        return (parameters["w"] - (3 if split == "selection" else 4)).square().mean()
    def project(self, parameters):
        return parameters

def workload(seed, device):
    resource.setrlimit(resource.RLIMIT_AS, (used() + 500 * 2**20, resource.RLIM_INFINITY))
    return Hungry()

def used():
    return int(pathlib.Path("/proc/self/statm").read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")
"""

pytestmark = pytest.mark.skipif(not Path("/proc/self/statm").is_file(), reason="needs Linux's /proc")


def run(folder: Path, rows: str, monkeypatch: pytest.MonkeyPatch) -> tuple[JobResult, str]:
    # Each thread, and each arena of the C library, takes a part of the address space.
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setenv("MALLOC_ARENA_MAX", "1")
    (folder / "training.py").write_text(HUNGRY.replace("ROWS", rows))
    rates = [0.001 * place for place in range(1, REPLICAS + 1)]
    configurations = tuple(Configuration(name="c", schedule=CONTROLS["constant"], learning_rate=rate) for rate in rates)
    reference = WorkloadReference(factory="training:workload", root=str(folder))
    write_job(folder / "job", Job(workload=reference, configurations=configurations))
    result = run_in_child(folder / "job", timeout_s=120)
    assert [row.failed for row in result.rows] == [None] * REPLICAS
    losses = [row.reporting_loss for row in result.rows]
    assert losses == sorted(losses, reverse=True)  # each moves further towards 4
    return result, (folder / "job" / "output.log").read_text()


def test_batch_is_cut_to_the_memory_before_it_runs_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    result, output = run(tmp_path, "5000", monkeypatch)
    assert 1 <= result.replicas_at_once < REPLICAS
    assert f"{result.replicas_at_once} replicas at once instead of {REPLICAS}: each takes" in output
    assert "memory ran out" not in output


def test_memory_that_runs_out_later_halves_the_batch_and_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The first steps show nothing of what the fourth will take.
    result, output = run(tmp_path, "5000 if step == 3 else 8", monkeypatch)
    assert result.replicas_at_once in (1, 2, 4, 8)
    assert f"memory ran out with {REPLICAS} replicas at once; going on with {REPLICAS // 2}" in output
