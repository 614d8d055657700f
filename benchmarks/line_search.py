"""Seconds to a target loss: GreedyLR against stochastic line search, on the small reference workloads.

    python benchmarks/line_search.py --preset robust --seeds 30

The rule, said before anything is trained: the target is 1.02 times the selection loss that cosine at its tuned rate
ends with (mean over reference seeds); the horizon is 1.1 times the seconds of cosine's whole run. Everyone's rate is
tuned by the same trials on search seeds (half decades around cosine's tuned rate), for this very measure. Then each
is trained on test seeds, one run after the other on one core, in turns, each in the loop of its user: GreedyLR on the
workload's own optimizer for the workload's length, the line search on plain SGD, as its authors have it, and until
the horizon, since it plans no length. The clock is the processor's time of the steps alone; the loss on the selection
split is read beside it, 100 times a run. A run that diverges or never arrives counts as the horizon.
"""

from __future__ import annotations

import argparse
import itertools
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import numpy as np  # noqa: E402
import torch  # noqa: E402

from flows.retraining import results_of  # noqa: E402
from greedylr import GreedyLR, Schedule, load_preset  # noqa: E402
from greedylr.workload import Workload  # noqa: E402
from models.contenders import CONTENDERS  # noqa: E402
from models.methods.single_line_search import SingleLineSearch  # noqa: E402
from models.results import Results  # noqa: E402
from models.retraining.execution import run_job  # noqa: E402
from models.retraining.job import Arrays, Job, WorkloadReference  # noqa: E402
from models.retraining.single_optimizers import torch_optimizer  # noqa: E402
from models.seeds import derive_seeds  # noqa: E402
from models.time_to_target import Arrivals, Comparison, arrival, compare, restricted_mean  # noqa: E402
from models.tuning import rate_grid, tune  # noqa: E402
from models.workloads.reference import REFERENCES  # noqa: E402
from pipeline.datasets import prepare  # noqa: E402

LOOKS = 100
GREEDY, SEARCH = "GreedyLR", "line search"

TakeStep = Callable[[int], None]
Begin = Callable[[Workload, dict[str, torch.Tensor], float], TakeStep]
Runs = list[tuple[np.ndarray, np.ndarray]]


@dataclass(frozen=True)
class Race:
    """One workload's data, target and horizon."""

    name: str
    data: Arrays
    target: float
    horizon: float

    def workload(self, seed: int) -> Workload:
        """Return the workload of a seed."""
        return REFERENCES[self.name].make(seed, "cpu", self.data)


def scheduled(schedule: Schedule) -> Begin:
    """Return what begins a training by a schedule, on the workload's own optimizer."""

    def begin(workload: Workload, weights: dict[str, torch.Tensor], rate: float) -> TakeStep:
        told = workload.descriptors
        optimizer = torch_optimizer(told, weights.values(), rate)
        scheduler = GreedyLR(optimizer, schedule.resolve(told.total_steps))

        def take(number: int) -> None:
            loss = workload.training_loss(weights, workload.batch(number))
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            if told.max_gradient_norm is not None:
                torch.nn.utils.clip_grad_norm_(weights.values(), told.max_gradient_norm)
            optimizer.step()
            project(workload, weights)
            scheduler.step(loss)

        return take

    return begin


def searched(workload: Workload, weights: dict[str, torch.Tensor], rate: float) -> TakeStep:
    """Begin a training by the line search."""
    search = SingleLineSearch(weights, workload, learning_rate=rate, total_steps=workload.descriptors.total_steps)
    return lambda number: search.step(workload.batch(number)) and None


@torch.no_grad()
def project(workload: Workload, weights: dict[str, torch.Tensor]) -> None:
    """Project the weights in place."""
    for name, projected in workload.project({key: weight.detach() for key, weight in weights.items()}).items():
        if projected is not weights[name]:
            weights[name].copy_(projected)


def run(
    workload: Workload,
    begin: Begin,
    rate: float,
    *,
    target: float = -np.inf,
    horizon: float = np.inf,
) -> tuple[np.ndarray, np.ndarray]:
    """Return the seconds and selection losses of a training's looks; it ends at the target or the horizon.

    One by a schedule ends with the workload's length at the latest.
    """
    weights = {name: weight.detach().clone().requires_grad_() for name, weight in workload.parameters().items()}
    take = begin(workload, weights, rate)
    length = workload.descriptors.total_steps
    every = max(1, length // LOOKS)
    seconds, losses, spent = [], [], 0.0
    for first in itertools.count(0, every) if begin is searched else range(0, length, every):
        started = time.thread_time()
        for number in range(first, first + every if begin is searched else min(first + every, length)):
            take(number)
        spent += time.thread_time() - started
        with torch.no_grad():
            loss = float(workload.evaluate(weights, "selection"))
        seconds.append(spent)
        losses.append(loss)
        if loss <= target or not np.isfinite(loss) or spent > horizon:
            break
    return np.array(seconds), np.array(losses)


def prepared(name: str, target_in_losses: float, horizon_in_runs: float) -> tuple[Race, float]:
    """Return the race of a workload and cosine's tuned rate."""
    reference = REFERENCES[name]
    with np.load(prepare(reference.dataset, ROOT / "data" / "datasets"), allow_pickle=False) as file:
        data = dict(file)
    grid = rate_grid(reference.descriptors.usual_learning_rate, 7)
    results = cosine_results(name, data, grid, derive_seeds("search", name, count=3))
    rate = tune(results)["cosine"]
    known = cosine_results(name, data, [rate], derive_seeds("reference", name, count=3))
    target = target_in_losses * float(known.selection_loss.mean())
    race = Race(name, data, target, np.inf)
    # The first run warms up; one that another process disturbs is not the median.
    whole = [run(race.workload(0), scheduled(CONTENDERS["cosine"].schedule), rate)[0][-1] for _ in range(4)][1:]
    return Race(name, data, target, horizon_in_runs * float(np.median(whole))), rate


def cosine_results(name: str, data: Arrays, rates: Sequence[float], seeds: Sequence[int]) -> Results:
    """Return cosine's results, trained as replicas."""
    job = Job(
        workload=WorkloadReference(reference=name),
        configurations=tuple(CONTENDERS["cosine"].configuration("cosine", rate) for rate in rates),
        seeds=tuple(seeds),
    )
    return results_of(run_job(job, data))


def runs(race: Race, rates: Mapping[str, float], begin: Mapping[str, Begin], seeds: Sequence[int]) -> dict[str, Runs]:
    """Return seconds and losses of each contender on each seed, trained in turns."""
    found: dict[str, Runs] = {name: [] for name in rates}
    for place, seed in enumerate(seeds):
        for name in rates if place % 2 == 0 else reversed(rates):
            found[name].append(
                run(race.workload(seed), begin[name], rates[name], target=race.target, horizon=race.horizon)
            )
    return found


def arrivals(race: Race, found: Runs) -> Arrivals:
    """Return when runs arrived."""
    each = [arrival(seconds, losses, target=race.target, horizon=race.horizon) for seconds, losses in found]
    return Arrivals(seconds=np.array([time for time, _ in each]), reached=np.array([reached for _, reached in each]))


def tuned(race: Race, centre: float, begin: Mapping[str, Begin], seeds: Sequence[int]) -> dict[str, float]:
    """Return the rate of each contender at which it arrives soonest on search seeds.

    Where no rate arrives more often than others the one that comes nearest is taken.
    """
    scores: dict[str, list[tuple[float, float, float]]] = {name: [] for name in begin}
    for rate in rate_grid(centre, 5):
        for name, found in runs(race, dict.fromkeys(begin, rate), begin, seeds).items():
            last = np.mean([losses[-1] for _, losses in found])
            scores[name].append(
                (
                    restricted_mean(arrivals(race, found), race.horizon),
                    float(last) if np.isfinite(last) else np.inf,
                    rate,
                )
            )
    return {name: min(each)[2] for name, each in scores.items()}


def line(name: str, race: Race, found: dict[str, Arrivals], compared: Comparison) -> str:
    """Return the table's line of a workload."""
    reached = {key: f"{int(each.reached.sum())}/{len(each.reached)}" for key, each in found.items()}
    return (
        f"{name:<24}{race.target:>9.4f}{race.horizon:>9.2f}{compared.first:>10.3f}{reached[GREEDY]:>7}"
        f"{compared.second:>13.3f}{reached[SEARCH]:>7}{compared.ratio:>8.2f}  "
        f"{compared.lower:.2f} to {compared.upper:.2f}\n"
    )


def main() -> None:
    """Print a line for each workload."""
    small = [name for name, reference in REFERENCES.items() if reference.size == "small" and reference.pooled]
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workload", choices=small, action="append", help="default: all small ones")
    parser.add_argument("--preset", default="robust")
    parser.add_argument("--seeds", type=int, default=30, help="test seeds, at least 2")
    parser.add_argument("--target", type=float, default=1.02, help="in selection losses of tuned cosine")
    parser.add_argument("--horizon", type=float, default=1.1, help="in seconds of cosine's whole run")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    begin = {GREEDY: scheduled(load_preset(arguments.preset).schedule), SEARCH: searched}
    sys.stdout.write(
        f"{'workload':<24}{'target':>9}{'horizon':>9}{GREEDY:>10}{'there':>7}{SEARCH:>13}{'there':>7}{'ratio':>8}"
        "  95 % interval (above 1: GreedyLR is ahead)\n"
    )
    for name in arguments.workload or small:
        race, centre = prepared(name, arguments.target, arguments.horizon)
        rates = tuned(race, centre, begin, derive_seeds("search", name, "seconds", count=3))
        seeds = derive_seeds("test", name, "seconds", count=arguments.seeds)
        found = {key: arrivals(race, each) for key, each in runs(race, rates, begin, seeds).items()}
        compared = compare(found[GREEDY], found[SEARCH], horizon=race.horizon, seed=0)
        sys.stdout.write(line(name, race, found, compared))
        sys.stdout.flush()


if __name__ == "__main__":
    main()
