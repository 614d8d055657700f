import os
import re
import time
from pathlib import Path

import pytest

from greedylr.schedules import CONTROLS
from models.retraining.child import run_in_child
from models.retraining.errors import WorkloadFailedError
from models.retraining.job import Configuration, Job, JobResult, WorkloadReference, write_job

RATES = (0.01, 0.03)

# A repository as one meets them: a network in its own `models` package, the workload beside it.
NETWORK = """
import torch
from pipeline.scale import SCALE

def initial(seed):
    generator = torch.Generator().manual_seed(seed)
    return {"w": SCALE * torch.randn(5, generator=generator), "b": torch.zeros(())}

def predict(parameters, x):
    return x @ parameters["w"] + parameters["b"]
"""
WORKLOAD = """
import torch
from greedylr.workload import WorkloadDescriptors
from models.network import initial, predict

class Regression:
    batched = True
    descriptors = WorkloadDescriptors(
        name="regression", family="own", total_steps=50, batch_size=8, usual_learning_rate=0.05
    )
    def __init__(self, seed):
        self.seed = seed
        generator = torch.Generator().manual_seed(0)
        self.x = torch.randn(64, 5, generator=generator)
        self.y = self.x @ torch.arange(5.0) + 0.1 * torch.randn(64, generator=generator)
    def parameters(self):
        return initial(self.seed)
    def batch(self, step):
        rows = torch.randint(0, 32, (8,), generator=torch.Generator().manual_seed(self.seed + step))
        return self.x[rows], self.y[rows]
    def training_loss(self, parameters, batch):
        x, y = batch
        return (predict(parameters, x) - y).square().mean()
    def evaluate(self, parameters, split):
        rows = slice(32, 48) if split == "selection" else slice(48, 64)
        return self.training_loss(parameters, (self.x[rows], self.y[rows]))
    def project(self, parameters):
        return parameters

def workload(seed, device):
    return Regression(seed)
"""


@pytest.fixture(autouse=True)
def one_thread_in_the_child(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    root = tmp_path / "repository"
    for package in ("models", "pipeline"):
        (root / package).mkdir(parents=True)
        (root / package / "__init__.py").touch()
    (root / "models" / "network.py").write_text(NETWORK)
    (root / "pipeline" / "scale.py").write_text("SCALE = 0.5\n")
    (root / "training.py").write_text(WORKLOAD)
    return root


def run(root: Path, factory: str = "training:workload", *, timeout_s: float = 60.0, rate: float = 1.0) -> JobResult:
    configurations = tuple(
        Configuration(name=name, schedule=CONTROLS[name], learning_rate=rate * multiple)
        for name in ("cosine", "plateau")
        for multiple in RATES
    )
    folder = root.parent / "job"
    reference = WorkloadReference(factory=factory, root=str(root))
    write_job(folder, Job(workload=reference, total_steps=50, configurations=configurations, seeds=(1, 2)))
    return run_in_child(folder, timeout_s=timeout_s)


def changed(root: Path, old: str, new: str) -> None:
    text = (root / "training.py").read_text()
    assert old in text
    (root / "training.py").write_text(text.replace(old, new))


def failure(root: Path, factory: str = "training:workload", *, timeout_s: float = 60.0, rate: float = 1.0) -> str:
    with pytest.raises(WorkloadFailedError) as raised:
        run(root, factory, timeout_s=timeout_s, rate=rate)
    return str(raised.value)


def test_users_own_packages_are_imported_where_ours_have_the_same_names(repository: Path) -> None:
    result = run(repository)
    assert [row.name for row in result.rows] == ["cosine"] * 4 + ["plateau"] * 4
    losses = [row.reporting_loss for row in result.rows if row.name == "cosine"]
    assert all(loss is not None and loss < 0.5 for loss in losses)
    assert result.descriptors.family == "own"


def test_factory_may_be_named_by_its_file(repository: Path) -> None:
    (repository / "research").mkdir()
    (repository / "training.py").rename(repository / "research" / "my-training.py")
    assert len(run(repository, "research/my-training.py:workload").rows) == 8


def test_workload_that_cannot_be_batched_is_trained_one_by_one_to_the_same_result(repository: Path) -> None:
    batched = run(repository)
    changed(repository, "batched = True", "batched = False")
    changed(repository, "x, y = batch", "x, y = batch; float(parameters['b'].detach())")
    single = run(repository)
    for one, other in zip(batched.rows, single.rows, strict=True):
        assert one.reporting_loss == pytest.approx(other.reporting_loss, rel=1e-4)


def test_loss_that_cannot_be_batched_is_told_what_to_set(repository: Path) -> None:
    changed(repository, "x, y = batch", "x, y = batch; parameters['b'].item()")
    assert "set batched = False" in failure(repository)


def test_workload_is_described_without_training(repository: Path) -> None:
    reference = WorkloadReference(factory="training:workload", root=str(repository))
    folder = repository.parent / "look"
    write_job(folder, Job(workload=reference))
    assert run_in_child(folder, timeout_s=60).descriptors.usual_learning_rate == 0.05


def test_workload_that_raises_is_shown_with_its_own_last_lines(repository: Path) -> None:
    changed(repository, "x, y = batch", 'raise KeyError("no such digit")')
    message = failure(repository)
    assert message.startswith("training:workload raised KeyError: 'no such digit'")
    assert re.search(r"training\.py:\d+ in training_loss: raise KeyError", message)
    assert "execution.py" not in message


def test_workload_that_hangs_is_killed_with_its_processes(repository: Path) -> None:
    pid_file = repository / "pid"
    changed(
        repository,
        "def workload(seed, device):",
        "def workload(seed, device):\n"
        "    import pathlib, subprocess, time\n"
        "    sleeper = subprocess.Popen(['sleep', '600'])\n"
        f"    pathlib.Path({str(pid_file)!r}).write_text(str(sleeper.pid))\n"
        "    time.sleep(600)\n",
    )
    # Long enough for torch to be imported on a busy machine.
    message = failure(repository, timeout_s=8)
    assert "was to be done within 8 s" in message
    assert not is_running(int(pid_file.read_text()))


def is_running(pid: int) -> bool:
    for _ in range(50):
        try:
            os.kill(pid, 0)
            if Path(f"/proc/{pid}/stat").is_file() and Path(f"/proc/{pid}/stat").read_text().split()[2] == "Z":
                return False
        except ProcessLookupError:
            return False
        time.sleep(0.1)
    return True


def test_workload_whose_process_dies_is_shown_with_its_last_output(repository: Path) -> None:
    changed(repository, "return Regression(seed)", 'import os; print("out of disk", flush=True); os._exit(7)')
    message = failure(repository)
    assert "exit status 7" in message
    assert "out of disk" in message


def test_job_whose_process_died_goes_on_with_what_it_had_finished(repository: Path) -> None:
    changed(
        repository,
        "def batch(self, step):",
        "def batch(self, step):\n"
        "        import os, pathlib\n"
        "        died = pathlib.Path('died')\n"
        "        with open('steps', 'a') as file: file.write(f'{died.exists()} {self.seed} {step}\\n')\n"
        "        if self.seed == 2 and step == 30 and not died.exists(): died.touch(); os._exit(9)",
    )
    assert "exit status 9" in failure(repository)
    assert all(row.failed is None and row.diverged_step is None for row in run(repository).rows)
    steps = (repository / "steps").read_text().splitlines()
    assert "False 1 30" in steps
    assert "True 2 30" in steps
    assert "True 1 30" not in steps  # the first seed was finished, and is not trained again


def test_workload_that_is_none_is_refused(repository: Path) -> None:
    changed(repository, "return Regression(seed)", "return None")
    assert "training:workload must return a greedylr.workload.Workload, got NoneType" in failure(repository)


def test_divergence_in_every_replica_is_a_failure(repository: Path) -> None:
    message = failure(repository, rate=1e30)
    assert message.startswith("training:workload diverged in each of its 8 replicas, from a rate of 1e+28 (at step ")
    assert "lower its usual_learning_rate" in message


def test_module_that_is_missing_is_named(repository: Path) -> None:
    assert f"no module 'trainings' was found in {repository}" in failure(repository, "trainings:workload")


def test_import_that_fails_inside_the_workload_is_the_users(repository: Path) -> None:
    changed(repository, "import torch", "import torch\nimport no_such_library")
    message = failure(repository)
    assert "raised ModuleNotFoundError: No module named 'no_such_library'" in message
    assert "training.py:3 in <module>: import no_such_library" in message


def test_module_with_the_name_of_one_that_is_loaded_is_a_clash(repository: Path) -> None:
    (repository / "training.py").rename(repository / "random.py")
    assert "has the name of one that Python has loaded already" in failure(repository, "random:workload")


def test_factory_that_is_missing_is_named_with_what_there_is(repository: Path) -> None:
    message = failure(repository, "training:make")
    assert "training must define the factory 'make', got Regression, WorkloadDescriptors, initial, predict" in message


def test_job_at_fault_is_an_error_of_the_caller(repository: Path) -> None:
    reference = WorkloadReference(factory="training:workload", root=str(repository))
    write_job(repository.parent / "job", Job(workload=reference, device="abacus"))
    with pytest.raises(ValueError, match="device must be one that torch has here, got 'abacus'"):
        run_in_child(repository.parent / "job", timeout_s=60)


def test_progress_of_the_child_reaches_the_caller(repository: Path) -> None:
    changed(repository, "x, y = batch", "import time; time.sleep(0.01); x, y = batch")
    told: list[tuple[str, int, int]] = []
    folder = repository.parent / "job"
    configuration = Configuration(name="constant", schedule=CONTROLS["constant"], learning_rate=0.05)
    reference = WorkloadReference(factory="training:workload", root=str(repository))
    write_job(folder, Job(workload=reference, configurations=(configuration,), seeds=(1, 2)))
    run_in_child(folder, timeout_s=60, progress=lambda *report: told.append(report))
    assert told[-1] == ("retraining", 2, 2)
