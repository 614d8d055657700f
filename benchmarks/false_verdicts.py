"""How often a preset is called better or worse than itself: A/A trials through the whole procedures.

    python benchmarks/false_verdicts.py --seeds 100 --trials 400

On each workload the bundled preset `robust` is trained at nine rates with many seeds. Those runs are then handed out to
a preset and to its control alike (`models/recorded_trainings.py`), and the procedures run on them as they would on a
training: broad and fine tuning, references, looks at 5, 10 and 20 pairs; and on budgets of 10 and of 60 runs. A control
that is another schedule adds nothing to A/A, so cosine alone stands for the frozen list.

At an error of 5 %, more than 33 false verdicts in 400 trials come by chance 2 times in 1,000 (binomial). That the looks
can see is shown by a planted gain of 0.10, added to recorded differences whose spread is scaled to 0.05.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from flows.retraining import results_of  # noqa: E402
from greedylr import load_preset  # noqa: E402
from greedylr.preset import Candidate  # noqa: E402
from greedylr.schedules import PRIMARY_CONTROL  # noqa: E402
from models.budget_plan import Budget  # noqa: E402
from models.budgeted_proof import prove_within_budget  # noqa: E402
from models.cells import judge, sign_flipped  # noqa: E402
from models.contenders import contenders  # noqa: E402
from models.fresh_comparison import PRESET  # noqa: E402
from models.proving import Plan, prove_preset  # noqa: E402
from models.recorded_trainings import RecordedTrainings  # noqa: E402
from models.regret import RegretScale, regret  # noqa: E402
from models.results import Results  # noqa: E402
from models.retraining.execution import run_job  # noqa: E402
from models.retraining.job import Configuration, Job, JobResult, WorkloadReference  # noqa: E402
from models.seeds import derive_seeds  # noqa: E402
from models.tuning import rate_grid  # noqa: E402
from models.workloads.reference import REFERENCES  # noqa: E402
from pipeline.datasets import prepare  # noqa: E402

# Of four families, with SGD, momentum and Adam among them.
WORKLOADS = ("mnist-mlp", "breast-cancer-logistic", "diamonds-linear", "diabetes-mlp")
RATES = 9
BUDGETS = (10, 60)
ALLOWED = 33


def recorded(workload: str, seeds: int, steps: int | None) -> JobResult:
    """Train the preset at nine rates around the workload's usual one."""
    preset, descriptors = load_preset("robust"), REFERENCES[workload].descriptors
    job = Job(
        workload=WorkloadReference(reference=workload),
        total_steps=steps,
        configurations=tuple(
            Configuration(name="robust", schedule=preset.schedule, learning_rate=rate)
            for rate in rate_grid(descriptors.usual_learning_rate, RATES)
        ),
        seeds=tuple(derive_seeds("reference", "false verdicts", workload, count=seeds)),
    )
    with tempfile.TemporaryDirectory() as folder, np.load(prepare(REFERENCES[workload].dataset, Path(folder))) as data:
        return run_job(job, dict(data), progress=_progress)


def trials(results: Results, naive_loss: float, usual_rate: float, count: int) -> dict[str, int]:
    """Return how many trials of each procedure end better or worse."""
    candidate = Candidate(name=PRESET, schedule=load_preset("robust").schedule, learning_rate=usual_rate, origin="A/A")
    plan = Plan(
        group="false verdicts",
        workload="recorded",
        own_workload=True,
        attempt=1,
        usual_rate=usual_rate,
        rivals={},
        contenders=contenders([PRIMARY_CONTROL]),
        max_trainings=100_000,
    )
    false = dict.fromkeys(("full procedure", *(f"budget of {runs} runs" for runs in BUDGETS)), 0)
    for trial in range(count):
        train = RecordedTrainings(results, naive_loss, trial)
        proofs = {"full procedure": prove_preset(candidate, train, plan)}
        for runs in BUDGETS:
            budget = Budget(trainings=runs)
            proofs[f"budget of {runs} runs"] = prove_within_budget(candidate, train, plan, budget, seconds_each=1.0)
        for name, proof in proofs.items():
            false[name] += proof.verdict.verdict in ("better", "worse")
        _progress("", trial + 1, count)
    return false


def found_gains(results: Results, naive_loss: float, count: int) -> int:
    """Return in how many trials a gain of 0.10 is found, the spread of pairs at the best rate scaled to 0.05."""
    rate = min(results.rates("robust"), key=lambda each: _mean(results, each))
    losses = results.reporting_loss[results.rows("robust", rate)]
    regrets = regret(losses, RegretScale(reference=float(np.nanmin(losses)), naive=naive_loss))
    differences = regrets[0::2][: len(regrets) // 2] - regrets[1::2]
    scaled = sign_flipped(differences / differences.std(ddof=1) * 0.05, count, seed=0) - 0.10
    return sum(judge(trial).verdict == "better" for trial in scaled)


def _mean(results: Results, rate: float) -> float:
    losses = results.reporting_loss[results.rows("robust", rate)]
    return float(losses.mean()) if np.isfinite(losses).all() else float("inf")


def _progress(_: str, done: int, total: int) -> None:
    sys.stderr.write(f"\r{done} of {total}" + ("\n" if done == total else ""))


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--workload", choices=sorted(REFERENCES), action="append", help=f"default: {', '.join(WORKLOADS)}"
    )
    parser.add_argument("--seeds", type=int, default=100)
    parser.add_argument("--trials", type=int, default=400)
    parser.add_argument("--steps", type=int, help="default: the workload's own")
    arguments = parser.parse_args()
    for workload in arguments.workload or WORKLOADS:
        made = recorded(workload, arguments.seeds, arguments.steps)
        results = results_of(made)
        naive_loss = float(
            np.mean([row.initial_reporting_loss for row in made.rows if row.initial_reporting_loss is not None])
        )
        counts = trials(results, naive_loss, REFERENCES[workload].descriptors.usual_learning_rate, arguments.trials)
        told = ", ".join(f"{name} {count}" for name, count in counts.items())
        gains = found_gains(results, naive_loss, arguments.trials)
        sys.stdout.write(
            f"{workload}: better or worse than itself in {arguments.trials} trials: {told} "
            f"(at most {ALLOWED} of 400); a gain of 0.10 found in {gains}\n"
        )
        sys.stdout.flush()


if __name__ == "__main__":
    main()
