"""Replicas a second of batched retraining against the same replicas one by one; and what the batched rule costs.

    python benchmarks/retraining.py
    python benchmarks/retraining.py --workload mnist-mlp --replicas 256
    python benchmarks/retraining.py --device cuda --size large --replicas 512 --json figures.json

Goals: on 2 cores at least 10 times as many replicas a second as one by one with `torch.optim` on small workloads (on a
large GPU 30 times, 4 times on large ones), a scheduler of at most 2 % of a step, a batched rule of at least 100 times
the steps a second of `transformers.GreedyLR` at 10,000 parameter sets.

A run is stopped after some steps and its median step taken: what it costs to set up and to evaluate is left out on both
sides. One thread by default: threads that wait for a core which another program has make small programs many times
slower. With one thread on the CPU the processor's time is taken, which other programs disturb less.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from statistics import mean, median
from typing import Any

import numpy as np
import torch

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from greedylr.rule import GreedyLRParameters  # noqa: E402
from greedylr.schedules import CONTROLS, ResolvedSchedule  # noqa: E402
from greedylr.workload import Workload  # noqa: E402
from models import batched_rule  # noqa: E402
from models.batched_schedule import BatchedRateController  # noqa: E402
from models.device_arrays import device_array, shared_array  # noqa: E402
from models.retraining.batched_training import train_batched  # noqa: E402
from models.retraining.replicas import Replicas, losses_and_gradients  # noqa: E402
from models.retraining.single_training import train_singly  # noqa: E402
from models.workloads.reference import REFERENCES  # noqa: E402
from pipeline.datasets import prepare  # noqa: E402

Clock = Callable[[], float]

WARM_UP = 3
FEWEST_STEPS = 8
SCHEDULER_STEPS = 20
PARAMETER_SETS = 10_000
HEADER = (
    "workload",
    "steps",
    "parameters",
    "step, ms",
    "replicas/s",
    "alone, ms",
    "replicas/s alone",
    "ratio",
    "scheduler",
)


class EnoughError(Exception):
    """As many steps were taken as are wanted."""


@dataclass(frozen=True, kw_only=True)
class Figures:
    """What was measured of one workload; times of a step in milliseconds, the scheduler's as a share of the step."""

    workload: str
    total_steps: int
    parameters: int
    replicas: int
    batched_step: float
    single_step: float
    scheduler_step: float

    @property
    def batched_rate(self) -> float:
        """Replicas a second of the batched program."""
        return 1000 * self.replicas / (self.batched_step * self.total_steps)

    @property
    def single_rate(self) -> float:
        """Replicas a second one by one."""
        return 1000 / (self.single_step * self.total_steps)

    @property
    def row(self) -> tuple[str, ...]:
        """As a row of the table."""
        numbers = f"{self.batched_step:.2f}", f"{self.batched_rate:.3g}", f"{self.single_step:.3f}"
        ratio, share = self.batched_rate / self.single_rate, self.scheduler_step / self.batched_step
        sizes = str(self.total_steps), str(self.parameters)
        return (self.workload, *sizes, *numbers, f"{self.single_rate:.3g}", f"{ratio:.1f}", f"{100 * share:.1f} %")


def median_step(train: Callable[..., Any], clock: Clock, most_steps: int, seconds: float) -> float:
    """Return the median time of a step of a training, which is stopped in time, in milliseconds."""
    stamps = [clock()]

    def on_step() -> None:
        stamps.append(clock())
        steps = len(stamps) - 1
        if steps >= most_steps or (steps >= FEWEST_STEPS and stamps[-1] - stamps[0] > seconds):
            raise EnoughError

    with suppress(EnoughError):
        train(on_step=on_step)
    return 1000 * median(np.diff(stamps)[WARM_UP:].tolist())


def measured(name: str, options: argparse.Namespace) -> Figures:
    """Return the figures of a workload."""
    reference, device, replicas, singles = REFERENCES[name], options.device, options.replicas, options.single_replicas
    clock = clock_of(options)
    with np.load(prepare(reference.dataset, ROOT / "data"), allow_pickle=False) as file:
        workload = reference.make(0, device, dict(file))
    schedules, rates = mixed(workload, replicas)
    # Spread over the controls, which cost differently.
    chosen = np.linspace(0, min(replicas, len(CONTROLS)) - 1, singles).round().astype(int).tolist()
    alone = [
        median_step(
            partial(train_singly, workload, [schedules[index]], [rates[index]]),
            clock,
            options.steps,
            options.seconds / singles,
        )
        for index in chosen
    ]
    together = partial(train_batched, workload, schedules, rates)
    return Figures(
        workload=name,
        total_steps=workload.descriptors.total_steps,
        parameters=sum(weight.numel() for weight in workload.parameters().values()),
        replicas=replicas,
        batched_step=median_step(together, clock, options.steps, options.seconds),
        single_step=mean(alone),
        scheduler_step=scheduler_step(workload, schedules, rates, clock, min(options.steps, SCHEDULER_STEPS)),
    )


def mixed(workload: Workload, replicas: int) -> tuple[list[ResolvedSchedule], list[float]]:
    """Return all controls in turn, at rates from a tenth of the usual one to all of it."""
    resolved = [control.resolve(workload.descriptors.total_steps) for control in CONTROLS.values()]
    rates = workload.descriptors.usual_learning_rate * np.geomspace(0.1, 1.0, replicas)
    return [resolved[index % len(resolved)] for index in range(replicas)], rates.tolist()


def scheduler_step(
    workload: Workload, schedules: Sequence[ResolvedSchedule], rates: Sequence[float], clock: Clock, most_steps: int
) -> float:
    """Return the median time of a step of the batched scheduler, in milliseconds: between steps that empty caches."""
    replicas = Replicas(workload, len(schedules), None)
    device = str(replicas.device)
    controller = BatchedRateController(schedules, rates, device)
    noise = torch.rand(min(most_steps, controller.total_steps), len(schedules), device=device)
    times = []
    for step, loss in enumerate(noise):
        losses = 1 + loss
        losses_and_gradients(workload, replicas.weights, workload.batch(step))
        synchronise(device)
        started = clock()
        _ = controller.learning_rates
        controller.observe(losses)
        synchronise(device)
        times.append(clock() - started)
    return 1000 * median(times)


def clock_of(options: argparse.Namespace) -> Clock:
    """Return what tells the time."""
    alone = torch.device(options.device).type == "cpu" and options.threads == 1
    return time.thread_time if alone else time.perf_counter


def synchronise(device: str) -> None:
    """Wait for an accelerator."""
    if torch.device(device).type == "cuda":
        torch.cuda.synchronize(device)


def rule_rates(device: str, clock: Clock, repetitions: int = 30) -> tuple[float, float]:
    """Return steps a second of so many rules of `transformers`, and of the same rules batched."""
    from transformers.optimization import GreedyLR

    noise = torch.rand(repetitions, generator=torch.Generator().manual_seed(0)).tolist()
    optimizers = [torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.1) for _ in range(PARAMETER_SETS)]
    theirs = [GreedyLR(optimizer, patience=index % 20) for index, optimizer in enumerate(optimizers)]
    rules = [GreedyLRParameters.like_transformers(patience=index % 20) for index in range(PARAMETER_SETS)]
    parameters = batched_rule.stack_parameters(rules, device)
    state = batched_rule.initial_state(parameters, device_array([0.1] * PARAMETER_SETS, "float64", device))
    times: tuple[list[float], list[float]] = ([], [])
    for loss in noise:
        started = clock()
        for scheduler in theirs:
            scheduler.step(loss)
        times[0].append(clock() - started)
    for loss in noise:
        losses = shared_array(torch.full((PARAMETER_SETS,), loss, dtype=torch.float64, device=device))
        synchronise(device)
        started = clock()
        state = batched_rule.next_state(parameters, state, losses)
        synchronise(device)
        times[1].append(clock() - started)
    rates = [scheduler.get_last_lr()[0] for scheduler in theirs]
    if rates != state.learning_rate.tolist():
        raise RuntimeError("the two do not give the same rates, so that their times say nothing")
    return 1 / median(times[0]), 1 / median(times[1])


def write_row(cells: Sequence[str]) -> None:
    """Write a row of a table in Markdown."""
    sys.stdout.write("| " + " | ".join(cells) + " |\n")
    sys.stdout.flush()


def main() -> None:
    """Measure, and write a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workload", choices=sorted(REFERENCES), action="append", help="default: all of the size")
    parser.add_argument("--size", choices=("small", "large"), default="small")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--replicas", type=int, default=96, help="replicas of the batched program")
    parser.add_argument("--single-replicas", type=int, default=4, help="replicas trained one after the other")
    parser.add_argument("--steps", type=int, default=100, help="most steps that are measured")
    parser.add_argument("--seconds", type=float, default=6.0, help="most seconds a measurement, where 8 steps are done")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--json", type=Path, help="where the figures are written to")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    of_size = [name for name, reference in REFERENCES.items() if reference.size == arguments.size]
    sys.stdout.write(
        f"{device_name(arguments.device)}, {arguments.threads} thread(s), torch {torch.__version__}, "
        f"{arguments.replicas} replicas\n\n"
    )
    write_row(HEADER)
    write_row(["---"] * len(HEADER))
    figures = []
    for name in arguments.workload or of_size:
        figures.append(measured(name, arguments))
        write_row(figures[-1].row)
    theirs, ours = rule_rates(arguments.device, clock_of(arguments))
    sys.stdout.write(
        f"\nrule, {PARAMETER_SETS:,} parameter sets: {ours:.0f} steps/s batched, {theirs:.0f} of "
        f"transformers.GreedyLR, ratio {ours / theirs:.0f}\n"
    )
    if arguments.json is not None:
        stored = {
            "command": " ".join(sys.argv),
            "torch": torch.__version__,
            "device": device_name(arguments.device),
            "threads": arguments.threads,
            "workloads": [asdict(each) for each in figures],
            "rule_steps_a_second": {"batched": ours, "transformers": theirs, "parameter_sets": PARAMETER_SETS},
        }
        arguments.json.write_text(json.dumps(stored, indent=2) + "\n", encoding="utf-8")


def device_name(device: str) -> str:
    """Return the name of an accelerator, or just "cpu"."""
    return torch.cuda.get_device_name(device) if torch.device(device).type == "cuda" else device


if __name__ == "__main__":
    main()
