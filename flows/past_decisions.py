"""What was known and done at each decision of past runs, read from the warehouse a chunk of runs at a time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import polars as pl

from features.decision_grid import decision_grid
from features.feature_catalogue import with_features
from features.loss_scales import final_regrets, loss_scales, run_ends
from features.transitions import transitions
from pipeline.warehouse import Warehouse

# Points of the curves that are worked on at a time, or the longest run: what bounds memory.
POINTS_AT_ONCE = 1_000_000

_RUNS = """
select run_id, group_name, planned_steps, starting_rate, final_loss, diverged, rate_source, points
from usable_runs join run_groups using (run_id)
join (select run_id, count(*) as points from trajectories group by run_id) using (run_id)
where group_name in (select unnest(?)) order by run_id
"""
_RUN = """
select run_id, '' as group_name, planned_steps, starting_rate, final_loss, diverged from usable_runs where run_id = ?
"""
_CURVES = "select * from trajectories where run_id in (select unnest(?)) order by run_id, position"


def group_decisions(warehouse: Warehouse, groups: Sequence[str]) -> pl.DataFrame:
    """Return the transitions of the usable runs of some groups, each group's losses on its own scale.

    Runs without a plan have none. The scale is made of all runs of a group: good to look at, and to learn from them
    all. Who judges by held-out runs makes it from the others (`features.loss_scales`).
    """
    runs = warehouse.frame(_RUNS, [list(groups)])
    ends = pl.concat(run_ends(curves) for curves in _curves(warehouse, runs))
    runs = runs.join(ends, on="run_id", maintain_order="left")
    scales = loss_scales(runs)
    runs = runs.join(scales, on="group_name", how="left", maintain_order="left").join(
        final_regrets(runs, scales), on="run_id", maintain_order="left"
    )
    return pl.concat(transitions(decision_grid(curves, runs), runs) for curves in _curves(warehouse, runs))


def run_features(warehouse: Warehouse, run_id: str) -> pl.DataFrame:
    """Return the features of one run or trial at the end of each interval, its losses on a scale of its own."""
    curve = warehouse.frame(_CURVES, [[run_id]])
    run = warehouse.frame(_RUN, [run_id]).join(run_ends(curve), on="run_id")
    run = run.join(loss_scales(run), on="group_name")
    return with_features(decision_grid(curve, run)).drop("run_id")


def _curves(warehouse: Warehouse, runs: pl.DataFrame) -> Iterator[pl.DataFrame]:
    """Yield the trajectories of the runs in their order, at least one table."""
    chunk = (pl.col("points").cum_sum() - pl.col("points")) // POINTS_AT_ONCE
    chunks = runs.with_columns(chunk=chunk).partition_by("chunk", maintain_order=True)
    for run_ids in [part["run_id"].to_list() for part in chunks] or [[]]:
        yield warehouse.frame(_CURVES, [run_ids])
