"""What a step of the scheduler costs beside `transformers.GreedyLR`, what a window costs, what the import costs.

    python benchmarks/scheduler.py

Ratios, because machines differ: ours over theirs, both in one process, in turns, the best of the repetitions. The goal
is at most 2 for a step, at most 50 ms for the import, and a step whose time and memory do not grow with its number.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
import tracemalloc
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import numpy as np  # noqa: E402
import torch  # noqa: E402
from transformers.optimization import GreedyLR as TheirGreedyLR  # noqa: E402

from greedylr import GreedyLR, GreedyLRParameters, Preset, load_preset  # noqa: E402

STEPS = 10_000
LARGE_WINDOW = 10_000
STARTING_RATE = 0.1
IMPORTS = 21

Scheduler = Any
Maker = Callable[[torch.optim.Optimizer], Scheduler]


def losses(count: int) -> list[float]:
    """Return a loss that falls with noise, so that the rate goes up and down."""
    noise = np.random.default_rng(0).standard_normal(count)
    return [float(value) for value in 3 * np.exp(-np.arange(count) / 2000) + 0.1 * noise]


def optimizer() -> torch.optim.Optimizer:
    """Return an optimizer of one group."""
    return torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=STARTING_RATE)


def preset_scheduler(preset: Preset) -> Maker:
    """Return what makes the scheduler of a preset for a run of `STEPS`."""
    return lambda it: preset.scheduler(it, total_steps=STEPS)


def seconds(scheduler: Scheduler, values: Sequence[Any]) -> float:
    """Return the time that a scheduler takes for the losses."""
    step = scheduler.step
    start = time.perf_counter()
    for value in values:
        step(value)
    return time.perf_counter() - start


def best_times(makers: Sequence[Maker], values: Sequence[Any], repetitions: int) -> list[float]:
    """Return the shortest time of each scheduler, in microseconds a step; they take turns."""
    times: list[list[float]] = [[] for _ in makers]
    for _ in range(repetitions):
        for maker, own in zip(makers, times, strict=True):
            own.append(seconds(maker(optimizer()), values))
    return [1e6 * min(own) / len(values) for own in times]


def step_ratios(repetitions: int) -> list[str]:
    """Return one line for each comparison of a step."""
    core = load_preset("core")
    smooth: dict[str, Any] = {"smooth": True, "window_size": 50}
    like, plain = GreedyLRParameters.like_transformers, GreedyLRParameters
    comparisons: list[tuple[str, dict[str, Any], Maker]] = [
        ("the same rule", {}, lambda it: GreedyLR(it, like())),
        ("the same rule, smoothed over 50", smooth, lambda it: GreedyLR(it, like(**smooth))),
        ("our defaults", {}, lambda it: GreedyLR(it)),
        ("our defaults, smoothed over 50", smooth, lambda it: GreedyLR(it, plain(**smooth))),
        ("the preset core beside theirs smoothed over 50", smooth, preset_scheduler(core)),
        ("the preset core beside theirs smoothed over 800", smooth | {"window_size": 800}, preset_scheduler(core)),
    ]
    lines = []
    for name, arguments, ours in comparisons:
        theirs = lambda it, arguments=arguments: TheirGreedyLR(it, **arguments)  # noqa: E731
        our_time, their_time = best_times([ours, theirs], losses(STEPS), repetitions)
        lines.append(ratio_line(name, our_time, their_time))
    tensors = [torch.tensor(value) for value in losses(STEPS)]
    our_time, their_time = best_times([lambda it: GreedyLR(it), lambda it: TheirGreedyLR(it)], tensors, repetitions)
    return [*lines, ratio_line("our defaults, the loss a tensor", our_time, their_time)]


def ratio_line(name: str, ours: float, theirs: float) -> str:
    """Return a comparison in words."""
    return f"{name:<48} {ours / theirs:5.2f}  ({ours:.2f} and {theirs:.2f} us)"


def window_growth(repetitions: int) -> list[str]:
    """Return how time and memory of a step with a window of 10,000 compare with one of 10, and go on after 100,000."""

    def maker(window: int) -> Maker:
        return lambda it: GreedyLR(it, GreedyLRParameters(smooth=True, window_size=window))

    values = losses(3 * LARGE_WINDOW)
    small, large = best_times([maker(10), maker(LARGE_WINDOW)], values, repetitions)
    smooth: dict[str, Any] = {"smooth": True, "window_size": LARGE_WINDOW}
    theirs = best_times([lambda it: TheirGreedyLR(it, **smooth)], values, 3)[0]
    early, late = halves(maker(LARGE_WINDOW)(optimizer()))
    return [
        ratio_line("a window of 10,000, ours over theirs", large, theirs),
        f"{'time, window of 10,000 over window of 10':<48} {large / small:5.2f}",
        f"{'time, steps 90,000-100,000 over 10,000-20,000':<48} {late / early:5.2f}",
        f"{'memory of a full window of 10,000':<48} {memory_of_window():5.0f}  bytes a value",
        f"{'memory that 50,000 further steps add':<48} {memory_growth():5.0f}  bytes",
    ]


def halves(scheduler: Scheduler) -> tuple[float, float]:
    """Return the time of 10,000 steps once the window is full, and of 10,000 much later; medians of short stretches."""
    values = losses(100_000)
    stretches = [seconds(scheduler, values[start : start + 1000]) for start in range(0, len(values), 1000)]
    return median(stretches[10:20]), median(stretches[90:])


def memory_of_window() -> float:
    """Return the bytes that a full window takes for each value in it."""
    tracemalloc.start()
    scheduler = GreedyLR(optimizer(), GreedyLRParameters(smooth=True, window_size=LARGE_WINDOW))
    generator = np.random.default_rng(0)
    before = tracemalloc.get_traced_memory()[0]
    for _ in range(LARGE_WINDOW):
        scheduler.step(float(generator.random()))
    used = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()
    return used / LARGE_WINDOW


def memory_growth() -> float:
    """Return the bytes that 50,000 steps add once the window is full."""
    scheduler = GreedyLR(optimizer(), GreedyLRParameters(smooth=True, window_size=LARGE_WINDOW))
    generator = np.random.default_rng(0)
    tracemalloc.start()
    for _ in range(2 * LARGE_WINDOW):
        scheduler.step(float(generator.random()))
    before = tracemalloc.get_traced_memory()[0]
    for _ in range(50_000):
        scheduler.step(float(generator.random()))
    grown = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()
    return grown


def import_time() -> list[str]:
    """Return how long `import greedylr` takes in a fresh interpreter, in milliseconds; the best of several."""
    code = "import time; start = time.perf_counter(); import greedylr; print(time.perf_counter() - start)"
    times = [
        float(subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, check=True).stdout)  # noqa: S603
        for _ in range(IMPORTS)
    ]
    return [f"{'import greedylr':<48} {1e3 * min(times):5.1f}  ms (median {1e3 * median(times):.1f})"]


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repetitions", type=int, default=25)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    sys.stdout.write("scheduler.step, ours over transformers.GreedyLR.step\n")
    for line in [*step_ratios(arguments.repetitions), *window_growth(arguments.repetitions), *import_time()]:
        sys.stdout.write(f"{line}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
