"""Points, as the warehouse holds them, to curves and descriptors: points a second, memory, and how both grow.

    python benchmarks/trajectories.py

Each size and history runs in a process of its own, whose peak memory is told. `curves` is `trajectories` over the runs
that the road takes at a time; the reference is a bare Polars sort of the same points by run, series and step with one
group a run and step. `described` is the stage of the road, from the warehouse's file to its tables written.

Of the two histories one is orderly: each step once, in the order of time. In the other each run has a trouble: points
logged twice, a step that is an epoch of 100 batches, every point at step 0, a resumption, or ten trials in one series.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

os.environ.setdefault("POLARS_MAX_THREADS", "2")

import polars as pl
from rich.console import Console
from rich.table import Table

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from features.trajectories import trajectories  # noqa: E402
from flows.road import POINTS_AT_ONCE, Road, describe  # noqa: E402
from pipeline.settings import load_settings  # noqa: E402

HISTORIES = ("orderly", "troubled")
SERIES = {"train_loss": "training_loss", "val_loss": "validation_loss", "lr": "learning_rate", "epoch_loss": None}
STEPS = 1000

# Point n of series k in run r; the troubles by r modulo 5.
POINTS = f"""
with numbered as (
    select r, k, n, case when '{{history}}' = 'orderly' then -1 else r % 5 end as trouble,
        case trouble when 0 then n // 2 when 3 then n - 300 * (n >= 600)::int else n end as done
    from range({{runs}}) as runs(r), range({len(SERIES)}) as series(k), range({STEPS}) as points(n)
)
select
    'benchmark/' || lpad(r::varchar, 32, '0') as run_id,
    {list(SERIES)}[k + 1] as key,
    case trouble when 1 then n // 100 when 2 then 0 when 4 then n % 100 else done end as step,
    1700000000000 + 1000 * case trouble when 0 then done else n end + k as timestamp,
    exp(case trouble when 4 then -(n % 100) / 30 else -done / 400 end) * (1 + hash(r, k, done) % 1000 / 1e5) as value
from numbered
order by r, k, n
"""  # noqa: S608 - literals and a count
RUNS = """
select distinct run_id, 'benchmark' as source_id, split_part(run_id, '/', 2) as run_uuid, '1' as experiment_id,
    'benchmark' as experiment_name, 'FINISHED' as status, 'active' as lifecycle_stage, 0 as start_time, 1 as end_time,
    count(*) as point_count, false as is_ours, now()::timestamp as ingested_at
from metrics group by run_id
"""


def main() -> None:
    """Measure 1, 3 and 10 million points of both histories and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--millions", type=float, nargs="*", default=[1.0, 3.0, 10.0])
    parser.add_argument("--part", nargs=4, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.part:
        name, folder, history, runs = arguments.part
        sys.stdout.write(json.dumps(part(name, road_in(Path(folder)), history, int(runs))))
        return
    table = Table("history", "points", "curves", "reference", "ratio", "MiB", "described", "MiB")
    for history in HISTORIES:
        for millions in arguments.millions:
            table.add_row(*row(history, round(millions * 1e6 / (STEPS * len(SERIES)))))
    Console().print(table)


def row(history: str, runs: int) -> list[str]:
    """Return one row of the table; each part in a process of its own, for peak memory is a process's."""
    told: dict[str, dict[str, float]] = {}
    with tempfile.TemporaryDirectory() as folder:
        for name in ("fill", "curves", "described"):
            command = [sys.executable, __file__, "--part", name, folder, history, str(runs)]
            done = subprocess.run(command, check=True, capture_output=True, text=True)  # noqa: S603 - ourselves
            told[name] = json.loads(done.stdout)
    points = runs * STEPS * len(SERIES)
    measured = told["curves"]
    return [
        history,
        f"{points / 1e6:g} M",
        *(f"{points / measured[name] / 1e6:.2f} M/s" for name in ("curves", "reference")),
        f"{measured['curves'] / measured['reference']:.2f}",
        f"{measured['peak_mib']:,.0f}",
        f"{told['described']['described']:.1f} s",
        f"{told['described']['peak_mib']:,.0f}",
    ]


def part(name: str, road: Road, history: str, runs: int) -> dict[str, float]:
    """Do one part and return its seconds, with the peak memory of this process."""
    if name == "fill":
        fill(road, history, runs)
        return {}
    spent = curves(road) if name == "curves" else described(road)
    return {**spent, "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}


def road_in(folder: Path) -> Road:
    """Return a road whose warehouse lies in a folder."""
    settings = folder / "greedylr.toml"
    settings.write_text('warehouse = "warehouse.duckdb"\n', encoding="utf-8")
    return Road(settings=load_settings(settings), root=folder)


def fill(road: Road, history: str, runs: int) -> None:
    """Write a history into a new warehouse."""
    with road.warehouse.writing() as connection:
        connection.execute(f"insert into metrics {POINTS.format(history=history, runs=runs)}")
        connection.execute(f"insert into runs by name {RUNS}")


def curves(road: Road) -> dict[str, float]:
    """Time `trajectories` and the reference over all points, as many at once as the road takes."""
    spent = {"curves": 0.0, "reference": 0.0}
    run_ids = road.warehouse.frame("select run_id from runs order by 1")["run_id"].to_list()
    at_once = POINTS_AT_ONCE // (STEPS * len(SERIES))
    for first in range(0, len(run_ids), at_once):
        points = road.warehouse.frame(
            "from metrics where run_id in (select unnest(?))", [run_ids[first : first + at_once]]
        )
        roles = (
            points.select("run_id", "key")
            .unique()
            .with_columns(role=pl.col("key").replace_strict(SERIES, return_dtype=pl.String))
        )
        started = time.perf_counter()
        found = trajectories(points, roles.drop_nulls())
        spent["curves"] += (then := time.perf_counter()) - started
        assert not found.is_empty()
        points.sort("run_id", "key", "step").group_by("run_id", "step").agg(pl.col("value").first())
        spent["reference"] += time.perf_counter() - then
    return spent


def described(road: Road) -> dict[str, float]:
    """Time the stage that gives every run its roles, curve and descriptors."""
    started = time.perf_counter()
    describe(road)
    return {"described": time.perf_counter() - started}


if __name__ == "__main__":
    main()
