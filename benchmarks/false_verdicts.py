"""How often the comparison calls a preset better or worse than itself: A/A trials on a real workload.

    python benchmarks/false_verdicts.py --seeds 400 --trials 400

Trains the bundled preset `robust` once for each seed, initial weights and order of the data independent. The regret
differences of pairs of those runs are drawn anew with random signs into trials of 20 pairs, and each trial goes through
the whole procedure with its looks at 5, 10 and 20. At an error of 5 %, more than 33 false verdicts in 400 trials come
by chance 2 times in 1,000 (binomial). The planted gain, added to each difference, shows that the procedure can see.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from greedylr import load_preset  # noqa: E402
from models.cells import false_verdicts, judge, sign_flipped  # noqa: E402
from models.regret import RegretScale, regret  # noqa: E402
from models.retraining.execution import run_job  # noqa: E402
from models.retraining.job import Configuration, Job, WorkloadReference  # noqa: E402
from models.seeds import derive_seeds  # noqa: E402
from models.workloads.reference import REFERENCES  # noqa: E402
from pipeline.datasets import prepare  # noqa: E402


def recorded_differences(workload: str, seeds: int) -> NDArray[np.float64]:
    """Return regret differences (seeds // 2,) of a preset and itself."""
    preset, descriptors = load_preset("robust"), REFERENCES[workload].descriptors
    job = Job(
        workload=WorkloadReference(reference=workload),
        configurations=(
            Configuration(name="robust", schedule=preset.schedule, learning_rate=descriptors.usual_learning_rate),
        ),
        seeds=tuple(derive_seeds("reference", "false verdicts", workload, count=seeds)),
    )
    with tempfile.TemporaryDirectory() as folder, np.load(prepare(REFERENCES[workload].dataset, Path(folder))) as data:
        result = run_job(job, dict(data), progress=_progress)
    losses = np.array([np.nan if row.reporting_loss is None else row.reporting_loss for row in result.rows])
    naive = float(
        np.mean([row.initial_reporting_loss for row in result.rows if row.initial_reporting_loss is not None])
    )
    regrets = regret(losses, RegretScale(reference=float(np.nanmin(losses)), naive=naive))
    return np.asarray(regrets[0::2] - regrets[1::2])


def _progress(_: str, done: int, total: int) -> None:
    sys.stderr.write(f"\r{done} of {total} runs" + ("\n" if done == total else ""))


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workload", choices=sorted(REFERENCES), default="mnist-mlp")
    parser.add_argument("--seeds", type=int, default=400)
    parser.add_argument("--trials", type=int, default=400)
    arguments = parser.parse_args()
    recorded = recorded_differences(arguments.workload, arguments.seeds)
    sys.stdout.write(
        f"{arguments.workload}: {len(recorded)} recorded differences, standard deviation {recorded.std(ddof=1):.4f}\n"
    )
    for draw in range(5):
        trials = sign_flipped(recorded, arguments.trials, seed=draw)
        sys.stdout.write(f"draw {draw}: {false_verdicts(trials)} of {arguments.trials} trials better or worse\n")
    scaled = sign_flipped(recorded / recorded.std(ddof=1) * 0.05, arguments.trials, seed=0) - 0.10
    found = sum(judge(trial).verdict == "better" for trial in scaled)
    sys.stdout.write(f"a gain of 0.10, the spread of pairs scaled to 0.05: found in {found} of {arguments.trials}\n")


if __name__ == "__main__":
    main()
