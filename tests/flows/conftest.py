"""A user's repository with a small training of its own and a past in MLflow, and the command line run on it."""

import contextlib
import io
import os
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from greedylr.command_line import main
from pipeline.run_logging import LoggedRun, Point, log_runs

# The user's own `models` package must not be mistaken for ours, nor ours for theirs.
NETWORK = """
import torch

def initial(seed):
    generator = torch.Generator().manual_seed(seed)
    return {"w": torch.randn(5, generator=generator), "b": torch.zeros(())}

def predict(parameters, x):
    return x @ parameters["w"] + parameters["b"]
"""
TRAINING = """
import torch
from greedylr.workload import WorkloadDescriptors
from models.network import initial, predict

class Regression:
    batched = True
    descriptors = WorkloadDescriptors(
        name="regression", family="own", total_steps=60, batch_size=8, usual_learning_rate=0.01
    )
    def __init__(self, seed):
        self.seed = seed
        generator = torch.Generator().manual_seed(0)
        self.x = torch.randn(96, 5, generator=generator)
        self.y = self.x @ torch.arange(5.0) + 0.5 * torch.randn(96, generator=generator)
    def parameters(self):
        return initial(self.seed)
    def batch(self, step):
        rows = torch.randint(0, 32, (8,), generator=torch.Generator().manual_seed(self.seed + step))
        return self.x[rows], self.y[rows]
    def training_loss(self, parameters, batch):
        x, y = batch
        return (predict(parameters, x) - y).square().mean()
    def evaluate(self, parameters, split):
        rows = slice(32, 64) if split == "selection" else slice(64, 96)
        return self.training_loss(parameters, (self.x[rows], self.y[rows]))
    def project(self, parameters):
        return parameters

def workload(seed, device):
    return Regression(seed)
"""

LogHistory = Callable[..., None]


@dataclass(frozen=True, kw_only=True)
class Ended:
    """How a command ended."""

    status: int
    out: str
    err: str


@pytest.fixture(scope="session")
def new_repository(mlflow_store_template: Path) -> Callable[[Path, str], Path]:
    """A function that makes a user's repository: training.py, models/, mlflow.db (empty), greedylr.toml."""

    def make(root: Path, settings: str = "") -> Path:
        (root / "models").mkdir(parents=True)
        (root / "models" / "__init__.py").touch()
        (root / "models" / "network.py").write_text(NETWORK)
        (root / "training.py").write_text(TRAINING)
        (root / "greedylr.toml").write_text(
            'warehouse = "data/greedylr.duckdb"\nsources = ["mlflow.db"]\nregistry_uri = "sqlite:///data/registry.db"\n'
            f"{settings}"
        )
        shutil.copyfile(mlflow_store_template, root / "mlflow.db")
        # MLflow takes seconds to make one of its own.
        (root / "data").mkdir()
        shutil.copyfile(mlflow_store_template, root / "data" / "registry.db")
        return root

    return make


@pytest.fixture(scope="session")
def log_history() -> LogHistory:
    """A function that logs past runs of an experiment, one for each pair of a schedule's name and a rate.

    log_history(store, "regression", [("cosine", 0.001)] * 8, first=0)
    """

    def log(store: Path, experiment: str, runs: Sequence[tuple[str, float]], *, first: int = 0) -> None:
        logged = [past_run(number, *run) for number, run in enumerate(runs, start=first)]
        folder = store.parent / "artifacts"
        log_runs(f"sqlite:///{store}", experiment, logged, artifact_folder=folder, progress=lambda *_: None)

    return log


def past_run(number: int, schedule: str, rate: float) -> LoggedRun:
    """A run whose loss falls the faster the higher its rate, up to 0.3, and which diverges above."""
    steps = np.arange(0, 60, 3)
    noise = np.random.default_rng(number).normal(0.0, 0.02, len(steps))
    losses = (0.3 + 20.0 * np.exp(-min(rate, 0.3) * steps)) * np.exp(noise)
    if rate > 0.3:
        losses[5:] = np.inf
    started = 1_700_000_000_000 + number * 60_000
    return LoggedRun(
        name=f"run-{number}",
        start_time=started,
        params={"optimizer": "SGD", "learning_rate": rate, "scheduler": schedule, "total_steps": 60},
        points=tuple(
            Point("train_loss", float(loss), started + 1000 * int(step), int(step))
            for step, loss in zip(steps, losses, strict=True)
        ),
    )


@pytest.fixture(scope="session")
def greedylr() -> Callable[..., Ended]:
    """The command line in this process: greedylr(FOLDER, "run", "--dry-run") gives status, out and err."""

    def call(folder: Path, *arguments: str) -> Ended:
        out, err = io.StringIO(), io.StringIO()
        before = Path.cwd()
        os.chdir(folder)
        try:
            with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err), pytest.raises(SystemExit) as ended:
                main(arguments)
        finally:
            os.chdir(before)
        return Ended(status=int(ended.value.code or 0), out=out.getvalue(), err=err.getvalue())

    return call


@pytest.fixture(scope="session")
def contents() -> Callable[[Path], dict[str, Any]]:
    """A function that gives each file below a folder with the time it was last written."""
    return lambda folder: {
        str(path.relative_to(folder)): path.stat().st_mtime_ns for path in sorted(folder.rglob("*")) if path.is_file()
    }
