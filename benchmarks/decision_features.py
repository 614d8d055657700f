"""Points, as a store holds them, to curves, features and transitions: seconds, memory, and how both grow.

    python benchmarks/decision_features.py

Each size runs in a process of its own, whose peak memory is told. The reference is a bare Polars sort of the same
points with one median a series and interval, in the same process: what any feature costs at the least.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

os.environ.setdefault("POLARS_MAX_THREADS", "2")

import numpy as np
import polars as pl
from rich.console import Console
from rich.table import Table

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from features.decision_grid import INTERVALS, decision_grid  # noqa: E402
from features.trajectories import trajectories  # noqa: E402
from features.transitions import transitions  # noqa: E402

STEPS = 1000
# Training loss and rate each step, a validation loss each step too, and one more series that is none of ours.
SERIES = {"train_loss": "training_loss", "val_loss": "validation_loss", "lr": "learning_rate", "accuracy": None}
RUNS_AT_ONCE = 200


def main() -> None:
    """Measure 1, 3 and 10 million points and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--millions", type=float, nargs="*", default=[1.0, 3.0, 10.0])
    parser.add_argument("--one", type=float, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one is not None:
        sys.stdout.write(json.dumps(measured(arguments.one)))
        return
    table = Table("points", "curves", "grid", "transitions", "all", "reference", "ratio", "peak MiB")
    for millions in arguments.millions:
        command = [sys.executable, __file__, "--one", str(millions)]
        told = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)  # noqa: S603
        seconds = [told[name] for name in ("curves", "grid", "transitions")]
        table.add_row(
            f"{told['points'] / 1e6:g} M",
            *(f"{part:.1f} s" for part in (*seconds, sum(seconds))),
            f"{told['reference']:.1f} s",
            f"{sum(seconds) / told['reference']:.1f}",
            f"{told['peak_mib']:,.0f}",
        )
    Console().print(table)


def measured(millions: float) -> dict[str, float]:
    """Return what so many million points cost, a chunk of runs after the other, as the road does it."""
    n_runs = round(millions * 1e6 / (STEPS * len(SERIES)))
    spent = dict.fromkeys(("curves", "grid", "transitions", "reference"), 0.0)
    rows = points = 0
    for runs in _chunks(n_runs):
        logged, roles, plans, outcomes = _history(runs)
        points += len(logged)
        started = time.perf_counter()
        curves = trajectories(logged, roles)
        spent["curves"] += (at := time.perf_counter()) - started
        grid = decision_grid(curves, plans)
        spent["grid"] += (then := time.perf_counter()) - at
        rows += len(transitions(grid, outcomes))
        spent["transitions"] += (ended := time.perf_counter()) - then
        _reference(logged)
        spent["reference"] += time.perf_counter() - ended
    assert rows == n_runs * INTERVALS
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {**spent, "points": points, "peak_mib": peak}


def _reference(logged: pl.DataFrame) -> pl.DataFrame:
    interval = pl.col("step") * INTERVALS // STEPS
    return logged.sort("run_id", "key", "step").group_by("run_id", "key", interval).agg(pl.col("value").median())


def _chunks(n_runs: int) -> Iterator[range]:
    for start in range(0, n_runs, RUNS_AT_ONCE):
        yield range(start, min(start + RUNS_AT_ONCE, n_runs))


def _history(runs: range) -> tuple[pl.DataFrame, pl.DataFrame, pl.DataFrame, pl.DataFrame]:
    generator = np.random.default_rng(runs.start)
    names = pl.Series("run_id", [f"source/{number:032x}" for number in runs])
    keys = pl.Series("key", list(SERIES))
    step = np.arange(STEPS)
    noise = generator.normal(scale=0.1, size=(len(runs), len(SERIES), STEPS))
    curve = {
        "train_loss": -step / 400,
        "val_loss": -step / 500,
        "lr": np.log1p(-step / STEPS),
        "accuracy": step / STEPS,
    }
    value = np.exp(np.stack([curve[key] for key in SERIES]) + noise)
    run, key, at = (np.ravel(index) for index in np.indices(value.shape))
    logged = pl.DataFrame(
        {
            "run_id": names.gather(run),
            "key": keys.gather(key),
            "step": at,
            "timestamp": 1_700_000_000_000 + 1000 * at,
            "value": value.ravel(),
        }
    )
    roles = names.to_frame().join(
        pl.DataFrame([(key, role) for key, role in SERIES.items() if role], schema=["key", "role"], orient="row"),
        how="cross",
    )
    plans = names.to_frame().with_columns(
        planned_steps=pl.lit(STEPS, pl.Int64), starting_rate=pl.lit(1.0), reference_loss=pl.lit(0.0)
    )
    outcomes = names.to_frame().with_columns(final_regret=pl.lit(0.1), rate_source=pl.lit("logged"))
    return logged, roles, plans, outcomes


if __name__ == "__main__":
    main()
