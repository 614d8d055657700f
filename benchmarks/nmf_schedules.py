"""GreedyLR inside the largest stable rate of matrix factorisation against step decay, on matrices not tuned on.

    python benchmarks/nmf_schedules.py

The reference workloads of `models/workloads` that factorise a matrix: digits and Reuters with batches of rows, faces
with batches of entries and with one factor in turn. Two tables:

Held-out matrices: each schedule starts at the multiple of the workload's largest stable rate, at most 1, that was best,
on search seeds, on the *other* families; so neither a rate nor a preset has seen the matrix. Beside it the same with
the multiple, up to 9, that was best on the matrix itself. Printed are final losses on held-out entries, means over test
seeds, and the paired difference of their logarithms to step decay with a 95 % interval.

What the bound does: the bundled preset `core` with its upper bound cut at the largest stable rate and without, from
starts below, at and above it; a run that diverged counts as the loss before training.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import numpy as np  # noqa: E402
import torch  # noqa: E402
from numpy.typing import NDArray  # noqa: E402
from scipy import stats  # noqa: E402

from greedylr import load_preset  # noqa: E402
from greedylr.schedules import CONTROLS, Schedule  # noqa: E402
from models.candidates import BEST_KNOWN  # noqa: E402
from models.retraining.batched_training import train_batched  # noqa: E402
from models.seeds import derive_seeds  # noqa: E402
from models.upper_bound import bounded  # noqa: E402
from models.workloads.reference import REFERENCES  # noqa: E402
from pipeline.datasets import prepare  # noqa: E402

WORKLOADS = ("digits-nmf", "reuters-nmf", "faces-nmf", "faces-nmf-alternating")
MULTIPLES = (1 / 9, 1 / 3, 1.0, 3.0, 9.0)
STARTS = (1 / 27, 1 / 9, 1 / 3, 1.0, 3.0)
SEARCH_SEEDS = 3
KEY = "benchmark of matrix factorisation"

Trial = tuple[Schedule, float]
Arrays = Mapping[str, NDArray[Any]]


def schedules() -> dict[str, Schedule]:
    """Return step decay, the control to beat, and what is compared with it."""
    return {
        "step": CONTROLS["step"],
        "cosine": CONTROLS["cosine"],
        "core": load_preset("core").schedule,
        "ramp-wsd": BEST_KNOWN,
    }


def largest_stable_rate(name: str) -> float:
    """Return what a workload tells."""
    rate = REFERENCES[name].descriptors.largest_stable_learning_rate
    if rate is None:
        raise ValueError(f"a workload of this benchmark must tell its largest stable rate, got none of {name!r}")
    return rate


def losses(name: str, data: Arrays, trials: Sequence[Trial], seeds: Sequence[int]) -> NDArray[np.float64]:
    """Return losses on held-out entries (n_seeds, n_trials); that of the untrained factors where a run diverged."""
    rows = []
    for seed in seeds:
        workload = REFERENCES[name].make(seed, "cpu", data)
        untrained = float(workload.evaluate(workload.parameters(), "reporting"))
        resolved = [schedule.resolve(workload.descriptors.total_steps) for schedule, _ in trials]
        final = train_batched(workload, resolved, [rate for _, rate in trials]).reporting_loss
        rows.append(np.where(np.isfinite(final), np.minimum(final, untrained), untrained))
    return np.array(rows)


def trial(name: str, schedule: Schedule, multiple: float) -> Trial:
    """Return a schedule inside the bound from a multiple of it."""
    largest = largest_stable_rate(name)
    return bounded(schedule, multiple * largest, largest), multiple * largest


def search(data: Mapping[str, Arrays]) -> dict[str, NDArray[np.float64]]:
    """Return the mean log loss of each workload on search seeds, (n_schedules, n_multiples)."""
    seeds = derive_seeds("search", KEY, count=SEARCH_SEEDS)
    means = {}
    for name in WORKLOADS:
        trials = [trial(name, schedule, multiple) for schedule in schedules().values() for multiple in MULTIPLES]
        made = np.log(losses(name, data[name], trials, seeds)).mean(axis=0)
        means[name] = made.reshape(len(schedules()), len(MULTIPLES))
    return means


def tuned_multiples(name: str, searched: Mapping[str, NDArray[np.float64]], *, on: str) -> list[float]:
    """Return the multiple of each schedule that was best on the "other" families, or on "itself".

    All that is known of a matrix that was not seen is its bound, so the start that others choose for it lies inside.
    """
    if on == "itself":
        return [MULTIPLES[place] for place in searched[name].argmin(axis=1)]
    families: dict[str, list[NDArray[np.float64]]] = {}
    for other, means in searched.items():
        families.setdefault(REFERENCES[other].descriptors.family, []).append(means)
    del families[REFERENCES[name].descriptors.family]
    # Families weigh alike. A common scale: a matrix that is fitted closely has lower losses and not more to say.
    regrets = [np.mean([means - means.min() for means in family], axis=0) for family in families.values()]
    inside = sum(multiple <= 1 for multiple in MULTIPLES)
    return [MULTIPLES[place] for place in np.mean(regrets, axis=0)[:, :inside].argmin(axis=1)]


def held_out_matrices(data: Mapping[str, Arrays], n_seeds: int) -> None:
    """Print the comparison with step decay."""
    searched = search(data)
    seeds = derive_seeds("test", KEY, count=n_seeds)
    head = (
        f"{'matrix':<24}{'tuned on':<10}{'schedule':<10}{'start / bound':>14}{'loss':>9}{'log ratio to step decay':>30}"
    )
    sys.stdout.write(f"{head}\n")
    for name in WORKLOADS:
        for on in ("others", "itself"):
            multiples = tuned_multiples(name, searched, on=on)
            pairs = zip(schedules().values(), multiples, strict=True)
            made = losses(name, data[name], [trial(name, *pair) for pair in pairs], seeds)
            for place, schedule in enumerate(schedules()):
                told = "" if place == 0 else interval(np.log(made[:, place] / made[:, 0]))
                start, loss = f"{multiples[place]:.2f}", f"{made[:, place].mean():.4f}"
                sys.stdout.write(f"{name:<24}{on:<10}{schedule:<10}{start:>14}{loss:>9}{told:>30}\n")
            sys.stdout.flush()


def interval(differences: NDArray[np.float64]) -> str:
    """Return the mean of paired differences with its 95 % interval."""
    half = stats.sem(differences) * stats.t.ppf(0.975, len(differences) - 1)
    return f"{differences.mean():+.3f} [{differences.mean() - half:+.3f}, {differences.mean() + half:+.3f}]"


def what_the_bound_does(data: Mapping[str, Arrays], n_seeds: int) -> None:
    """Print losses of `core` within the bound and without it."""
    core, seeds = load_preset("core").schedule, derive_seeds("test", KEY, "bound", count=n_seeds)
    sys.stdout.write(f"\n{'matrix':<24}{'start / bound':>14}{'free':>9}{'within':>9}{'log ratio':>32}\n")
    for name in WORKLOADS:
        free = [(core, start * largest_stable_rate(name)) for start in STARTS]
        made = losses(name, data[name], [*free, *(trial(name, core, start) for start in STARTS)], seeds)
        for place, start in enumerate(STARTS):
            without, within = made[:, place], made[:, len(STARTS) + place]
            told = interval(np.log(within / without)) if (within != without).any() else "the same"
            sys.stdout.write(f"{name:<24}{start:>14.2f}{without.mean():9.4f}{within.mean():9.4f}{told:>32}\n")
        sys.stdout.flush()


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=10)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    data = {}
    for name in WORKLOADS:
        with np.load(prepare(REFERENCES[name].dataset, ROOT / "data" / "datasets"), allow_pickle=False) as file:
            data[name] = dict(file)
    held_out_matrices(data, arguments.seeds)
    what_the_bound_does(data, arguments.seeds)


if __name__ == "__main__":
    main()
