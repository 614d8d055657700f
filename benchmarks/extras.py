"""What the extras probe and rollback do to a small real workload, from starts too low to starts too high.

    python benchmarks/extras.py

The MNIST network of `models/workloads` (300 steps are its own length; here 1,000, so that 3 % of them make a sweep)
with SGD and momentum, under the bundled preset `core` without and with the two, each in a plain loop with
`preset.scheduler`. Seeds are paired: same initial weights, same batches. Printed are final losses on held-out digits,
means over the seeds, and the paired difference to `core` with its standard error; a run that diverged counts as
guessing. The defaults of the two were looked at on search seeds; these are test seeds.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import warnings
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import numpy as np  # noqa: E402
import torch  # noqa: E402

from greedylr import Preset, Probe, Rollback, load_preset  # noqa: E402
from models.seeds import derive_seeds  # noqa: E402
from models.workloads.digit_images import DATASET  # noqa: E402
from models.workloads.mnist_mlp import MNIST_MLP  # noqa: E402
from models.workloads.row_workload import RowWorkload  # noqa: E402
from pipeline.datasets import prepare  # noqa: E402

TOTAL_STEPS = 1000
TUNED_RATE = 0.1
STARTS = {
    "27 x too low": 1 / 27,
    "9 x too low": 1 / 9,
    "3 x too low": 1 / 3,
    "tuned": 1,
    "3 x too high": 3,
    "9 x too high": 9,
}
DIVERGED = 2.3026  # what guessing scores, ln 10


class Network(torch.nn.Module):
    """The workload's weights as a module, for an optimizer and a scheduler to work on."""

    def __init__(self, workload: RowWorkload) -> None:
        super().__init__()
        self.weights = torch.nn.ParameterDict(workload.parameters())


def presets() -> dict[str, Preset]:
    """Return core, and core with each of the extras and both."""
    core = load_preset("core")
    extras: dict[str, dict[str, Any]] = {
        "core": {},
        "with probe": {"probe": Probe()},
        "with rollback": {"rollback": Rollback()},
        "with both": {"probe": Probe(), "rollback": Rollback()},
    }
    return {name: replace(core, schedule=replace(core.schedule, **extra)) for name, extra in extras.items()}


def final_loss(preset: Preset, rate: float, seed: int, data: Mapping[str, Any], kinds: list[str]) -> float:
    """Return the loss on held-out digits after one training; what the scheduler did is added to `kinds`."""
    workload = MNIST_MLP(seed, "cpu", data)
    network = Network(workload)
    optimizer = torch.optim.SGD(network.parameters(), lr=rate, momentum=workload.descriptors.momentum)
    scheduler = preset.scheduler(
        optimizer, TOTAL_STEPS, model=network, on_change=lambda decision: kinds.append(decision.kind)
    )
    for step in range(TOTAL_STEPS):
        loss = workload.training_loss(network.weights, workload.batch(step))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        scheduler.step(loss)
    with torch.no_grad():
        loss = float(workload.evaluate(network.weights, "reporting"))
    return min(loss, DIVERGED) if np.isfinite(loss) else DIVERGED


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=5)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore", UserWarning)  # that a rollback was given up is counted below
    with tempfile.TemporaryDirectory() as folder, np.load(prepare(DATASET, Path(folder))) as file:
        data = dict(file)
    seeds = derive_seeds("test", "benchmark of the extras", count=arguments.seeds)
    sys.stdout.write(f"{'start':<14}{'preset':<15}{'loss':>8}{'difference to core':>24}{'rollbacks':>11}\n")
    for start, multiple in STARTS.items():
        losses = {}
        for name, preset in presets().items():
            kinds: list[str] = []
            losses[name] = np.array([final_loss(preset, TUNED_RATE * multiple, seed, data, kinds) for seed in seeds])
            difference = losses[name] - losses["core"]
            error = difference.std(ddof=1) / len(seeds) ** 0.5
            told = "" if name == "core" else f"{difference.mean():+.4f} +- {error:.4f}"
            sys.stdout.write(
                f"{start:<14}{name:<15}{losses[name].mean():8.4f}{told:>24}{kinds.count('rollback') or '':>11}\n"
            )
            sys.stdout.flush()


if __name__ == "__main__":
    main()
