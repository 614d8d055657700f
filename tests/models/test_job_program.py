import subprocess
import sys
from pathlib import Path

import pytest

from greedylr.schedules import CONTROLS
from greedylr.strict_json import parse
from models.retraining.job import Configuration, Job, WorkloadReference, read_result, write_job
from models.retraining.job_program import ProgressLines, main

ROOT = Path(__file__).resolve().parents[2]
COSINE = Configuration(name="cosine", schedule=CONTROLS["cosine"], learning_rate=0.1)
PLATEAU = Configuration(name="plateau", schedule=CONTROLS["plateau"], learning_rate=0.1)
JOB = Job(workload=WorkloadReference(reference="mnist-mlp"), total_steps=4, configurations=(COSINE,))


def test_job_that_ends_has_the_status_0_and_tells_where_its_result_lies(
    tmp_path: Path, digits_file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    write_job(tmp_path, JOB, digits_file)
    (tmp_path / "failure.json").write_text("of an earlier attempt")
    assert main([str(tmp_path)]) == 0
    assert len(read_result(tmp_path).rows) == 1
    assert not (tmp_path / "failure.json").exists()
    lines = [record.getMessage() for record in caplog.records]
    assert lines[0].startswith("retraining: 0 of 1 replicas")
    assert lines[-2].startswith("retraining: 1 of 1 replicas")
    assert lines[-1].endswith(f"device-seconds: {tmp_path / 'result.json'}")


def test_job_that_fails_has_the_status_1_and_leaves_the_reason(tmp_path: Path, digits_file: Path) -> None:
    too_short = Job(workload=JOB.workload, total_steps=1, configurations=(PLATEAU,))
    write_job(tmp_path, too_short, digits_file)
    assert main([str(tmp_path)]) == 1
    failure = parse((tmp_path / "failure.json").read_text())
    assert failure["kind"] == "job"
    assert failure["message"].startswith("configuration 'plateau': a run must have at least")


FIRST_JOB = """
import pathlib, sys
from models.retraining import device_clock, execution

class Watched(device_clock.DeviceClock):
    def spending(self):
        print("torch._dynamo" in sys.modules)
        return super().spending()

execution.DeviceClock = Watched
execution.run_folder(pathlib.Path(sys.argv[1]))
"""


def test_what_torch_loads_at_its_first_draw_is_on_no_trainings_account(tmp_path: Path, digits_file: Path) -> None:
    write_job(tmp_path, Job(workload=WorkloadReference(reference="mnist-mlp"), total_steps=40), digits_file)
    command = [sys.executable, "-c", FIRST_JOB, str(tmp_path)]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert (ended.returncode, set(ended.stdout.split())) == (0, {"True"}), ended.stderr


USERS = """
import torch
from greedylr.workload import WorkloadDescriptors

class Slope:
    batched = True
    descriptors = WorkloadDescriptors(name="s", family="own", total_steps=4, batch_size=1, usual_learning_rate=0.1)
    def parameters(self):
        return {"w": torch.zeros(1)}
    def batch(self, step):
        return torch.ones(1)
    def training_loss(self, parameters, batch):
        return (parameters["w"] - batch).square().mean()
    def evaluate(self, parameters, split):
        return (parameters["w"] - (2 if split == "selection" else 3)).square().mean()
    def project(self, parameters):
        return parameters

def workload(seed, device):
    return Slope()
"""


def test_users_workload_is_run_as_a_program_too(tmp_path: Path) -> None:
    (tmp_path / "training.py").write_text(USERS)
    reference = WorkloadReference(factory="training.py:workload", root=str(tmp_path))
    write_job(tmp_path / "job", Job(workload=reference, configurations=(COSINE,)))
    command = [sys.executable, "-m", "models.retraining.job", str(tmp_path / "job")]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stdout) == (0, ""), ended.stderr
    assert "Traceback" not in ended.stderr
    assert ended.stderr.splitlines()[-1].endswith("result.json")


@pytest.mark.parametrize("arguments", [[], ["no/such/folder"], ["one", "two"]])
def test_without_a_job_the_status_is_2_with_the_usage(arguments: list[str], caplog: pytest.LogCaptureFixture) -> None:
    assert main(arguments) == 2
    assert "usage: python -m models.retraining.job FOLDER, which holds a job.json" in caplog.text


def test_job_file_that_is_none_has_the_status_2_with_the_field_at_fault(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "job.json").write_text('{"workload": {"reference": "mnist-mlp"}, "seed": 3}')
    assert main([str(tmp_path)]) == 2
    assert "job.json.seed is no known field" in caplog.text


def test_progress_is_a_line_every_few_seconds_and_the_last_one_at_once() -> None:
    lines: list[str] = []
    seconds = iter([0.0, 0.0, 1.0, 4.9, 5.1, 6.0])
    progress = ProgressLines(lines.append, now=lambda: next(seconds))
    for done in (0, 1, 2, 3, 8):
        progress("retraining", done, 8)
    assert lines == [
        "retraining: 0 of 8 replicas, 0 s",
        "retraining: 3 of 8 replicas, 5 s",
        "retraining: 8 of 8 replicas, 6 s",
    ]
