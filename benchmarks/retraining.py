"""Replicas a second of batched retraining, against the same replicas one after the other with torch.optim.

    python benchmarks/retraining.py --workload mnist-mlp --replicas 256

One thread by default: threads that wait for a core which another program has make small programs many times slower.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

import numpy as np
import torch

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from greedylr.schedules import CONTROLS  # noqa: E402
from models.retraining.execution import run_job  # noqa: E402
from models.retraining.job import Arrays, Configuration, Job, WorkloadReference  # noqa: E402
from models.retraining.single_training import train_singly  # noqa: E402
from models.workloads.reference import REFERENCES  # noqa: E402
from pipeline.datasets import prepare  # noqa: E402


def configurations(count: int, usual_rate: float) -> tuple[Configuration, ...]:
    """Return all controls in turn, at rates from a tenth of the usual one to all of it."""
    names = list(CONTROLS)
    rates = usual_rate * np.geomspace(0.1, 1.0, count)
    return tuple(
        Configuration(
            name=f"{names[index % len(names)]}-{index}",
            schedule=CONTROLS[names[index % len(names)]],
            learning_rate=rate,
        )
        for index, rate in enumerate(rates.tolist())
    )


def batched_rate(name: str, data: Arrays, replicas: int) -> float:
    """Return replicas a second of the batched program, set-up and evaluation included."""
    job = Job(
        workload=WorkloadReference(reference=name), configurations=configurations(replicas, usual_rate(name, data))
    )
    return replicas / run_job(job, data).device_seconds


def single_rate(name: str, data: Arrays, replicas: int) -> float:
    """Return replicas a second one after the other."""
    workload = REFERENCES[name].make(0, "cpu", data)
    chosen = configurations(replicas, usual_rate(name, data))
    schedules = [each.schedule.resolve(workload.descriptors.total_steps) for each in chosen]
    started = time.perf_counter()
    train_singly(workload, schedules, [each.learning_rate for each in chosen])
    return replicas / (time.perf_counter() - started)


def usual_rate(name: str, data: Arrays) -> float:
    """Return the workload's usual rate."""
    return REFERENCES[name].make(0, "cpu", data).descriptors.usual_learning_rate


def main() -> None:
    """Measure and write one line a workload."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workload", choices=sorted(REFERENCES), action="append", help="default: all")
    parser.add_argument("--replicas", type=int, default=256, help="replicas of the batched program")
    parser.add_argument("--single-replicas", type=int, default=14, help="replicas trained one after the other")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=3, help="the best of so many is taken")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    for name in arguments.workload or sorted(REFERENCES):
        with np.load(prepare(REFERENCES[name].dataset, ROOT / "data"), allow_pickle=False) as file:
            data = dict(file)
        # The best of several: a machine that others use only ever makes it slower.
        batched = max(batched_rate(name, data, arguments.replicas) for _ in range(arguments.repeats))
        single = max(single_rate(name, data, arguments.single_replicas) for _ in range(arguments.repeats))
        sys.stdout.write(
            f"{name}: {batched:.1f} replicas/s batched, {single:.2f} one by one, ratio {batched / single:.1f} "
            f"({arguments.threads} thread(s))\n"
        )


if __name__ == "__main__":
    main()
