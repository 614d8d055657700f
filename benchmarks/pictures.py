"""Draws docs/pictures anew from runs made here: schedules of GreedyLR, and loss histories beside hypergradient descent.

    python benchmarks/pictures.py

On up to six small reference workloads, of as many families as there are. `schedules.png`: the rates that GreedyLR
takes under two bundled presets beside constant, linear and cosine, all from the rate that cosine is tuned to.
`histories.png`: training losses of GreedyLR, of SGD (the workload's own optimizer at a constant rate) and of
hypergradient descent with a rate a parameter and a rate a tensor, each at the rate tuned for it on search seeds.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from itertools import groupby
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import numpy as np  # noqa: E402
import torch  # noqa: E402

from flows.retraining import results_of  # noqa: E402
from greedylr import load_preset  # noqa: E402
from models.common_grid import at_rates  # noqa: E402
from models.contenders import CONTENDERS, Contender  # noqa: E402
from models.retraining.execution import run_job  # noqa: E402
from models.retraining.job import Arrays, Configuration, Job, JobResult, WorkloadReference  # noqa: E402
from models.seeds import derive_seeds  # noqa: E402
from models.tuning import rate_grid, tune  # noqa: E402
from models.workloads.reference import REFERENCES  # noqa: E402
from pipeline.datasets import prepare  # noqa: E402
from pipeline.plots import Curves  # noqa: E402
from pipeline.small_multiples import Panel, panels_picture  # noqa: E402

MOST_PANELS = 6
SEARCH_SEEDS, TEST_SEEDS = 2, 5
POINTS_OF_RATES, POINTS_OF_LOSSES = 100, 25
NOTE = f"line: median of {TEST_SEEDS} seeds, band: 10th to 90th percentile; cross: most seeds had diverged"

PRESETS = {
    f"GreedyLR ({name})": Contender(schedule=load_preset(name).schedule, source="greedylr", settings=f"preset {name}")
    for name in ("robust", "core")
}
SCHEDULES = {**PRESETS, **{name: CONTENDERS[name] for name in ("constant", "linear", "cosine")}}
HISTORIES = {
    "GreedyLR (robust)": PRESETS["GreedyLR (robust)"],
    "constant rate": CONTENDERS["constant"],
    "hypergradient, a rate a tensor": CONTENDERS["hypergradient_tensor"],
    "hypergradient, a rate a parameter": CONTENDERS["hypergradient_parameter"],
}


def chosen() -> list[str]:
    """Return up to six small workloads: one of each family first, then second ones."""
    small = [name for name, each in REFERENCES.items() if each.size == "small" and each.pooled]
    by_family = sorted(small, key=lambda name: REFERENCES[name].descriptors.family)
    ranks = {
        name: rank
        for _, family in groupby(by_family, key=lambda name: REFERENCES[name].descriptors.family)
        for rank, name in enumerate(family)
    }
    return sorted(small, key=lambda name: ranks[name])[:MOST_PANELS]


def trained(
    name: str, data: Arrays, configurations: Sequence[Configuration], seeds: Sequence[int], points: int
) -> JobResult:
    """Return what a workload's trainings gave, with curves of so many points."""
    job = Job(
        workload=WorkloadReference(reference=name),
        configurations=tuple(configurations),
        seeds=tuple(seeds),
        curve_points=points,
    )
    return run_job(job, data)


def tuned(name: str, data: Arrays, contenders: Mapping[str, Contender]) -> dict[str, float]:
    """Return the rate of each contender, chosen on search seeds from two decades around the workload's usual rate."""
    grid = rate_grid(REFERENCES[name].descriptors.usual_learning_rate, 7)
    seeds = derive_seeds("search", "pictures", name, count=SEARCH_SEEDS)
    return tune(results_of(trained(name, data, at_rates(contenders, grid), seeds, 1)))


def panel(
    name: str, data: Arrays, contenders: Mapping[str, Contender], rates: Mapping[str, float], points: int
) -> Panel:
    """Return the panel of a workload, each contender at its rate."""
    configurations = [contender.configuration(key, rates[key]) for key, contender in contenders.items()]
    result = trained(name, data, configurations, derive_seeds("test", "pictures", name, count=TEST_SEEDS), points)
    curves: dict[str, Curves] = {
        key: (result.curves.steps, result.curves.losses[place], result.curves.rates[place])
        for place, key in enumerate(contenders)
    }
    optimizer = {"sgd": "SGD", "adam": "Adam", "adamw": "AdamW"}[result.descriptors.optimizer]
    momentum = result.descriptors.momentum if optimizer == "SGD" else 0
    title = f"{name} ({optimizer}{f', momentum {momentum:g}' if momentum else ''})"
    return Panel(title=title, curves=curves, rate_unit=next(iter(rates.values())))


def main() -> None:
    """Train, draw, and say where the pictures are."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workload", choices=sorted(REFERENCES), action="append", help="default: up to six small ones")
    parser.add_argument("--folder", type=Path, default=ROOT / "docs" / "pictures")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    arguments.folder.mkdir(parents=True, exist_ok=True)
    schedules, histories = [], []
    for name in arguments.workload or chosen():
        with np.load(prepare(REFERENCES[name].dataset, ROOT / "data" / "datasets"), allow_pickle=False) as file:
            data = dict(file)
        rates = tuned(name, data, {"cosine": CONTENDERS["cosine"], **HISTORIES})
        schedules.append(panel(name, data, SCHEDULES, dict.fromkeys(SCHEDULES, rates["cosine"]), POINTS_OF_RATES))
        histories.append(panel(name, data, HISTORIES, rates, POINTS_OF_LOSSES))
        sys.stdout.write(f"{name}: trained\n")
        sys.stdout.flush()
    path = panels_picture(
        arguments.folder / "schedules.png",
        "Learning rates, all from the rate that cosine is tuned to",
        schedules,
        what="rates",
        note=NOTE,
    )
    sys.stdout.write(f"{path}\n")
    path = panels_picture(
        arguments.folder / "histories.png",
        "Training losses, each at the rate tuned for it",
        histories,
        what="losses",
        note=NOTE,
    )
    sys.stdout.write(f"{path}\n")


if __name__ == "__main__":
    main()
