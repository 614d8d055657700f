"""Which run or group a user means by a name."""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import polars as pl

from flows.road import RUNS, Road

MOST_NAMES = 8


@dataclass(frozen=True, kw_only=True)
class Found:
    """What a name on the command line stands for."""

    kind: Literal["run", "group"]
    name: str


def found(road: Road, name: str) -> Found:
    """Return the group of this name, or the run whose id or name is it or begins with it; RUN#2 is a trial of it.

    Raises
    ------
    ValueError
        Nothing is called so (the nearest names are given), or several runs are.
    """
    groups = road.warehouse.frame("select distinct group_name from run_groups order by 1")["group_name"].to_list()
    runs = road.warehouse.frame(f"select run_id, run_uuid, run_name, experiment_name from ({RUNS})")  # noqa: S608
    if name in groups:
        return Found(kind="group", name=name)
    run, mark, trial = name.partition("#")
    for matches in _matches(run):
        those = runs.filter(matches)
        if len(those) == 1:
            return _found_run(road, those["run_id"][0], f"{mark}{trial}")
        if len(those) > 1:
            raise ValueError(_ambiguous(name, those))
    known = [*groups, *runs["run_name"].drop_nulls().unique().sort().to_list(), *runs["run_uuid"].to_list()]
    nearest = difflib.get_close_matches(name, known, n=3, cutoff=0.5)
    hint = f"did you mean {' or '.join(nearest)}?" if nearest else "`greedylr runs` lists the groups"
    raise ValueError(f"a run's id or name, the beginning of one, or a group's name must be given, got '{name}'; {hint}")


def _found_run(road: Road, run_id: str, trial: str) -> Found:
    query = "select run_id from usable_runs where run_id = ? or starts_with(run_id, ? || '#')"
    curves = road.warehouse.frame(query, [run_id, run_id])["run_id"].to_list()
    if run_id + trial in curves:
        return Found(kind="run", name=run_id + trial)
    has = f"it has {len(curves) - 1}, from #1 on" if len(curves) > 1 else "it has none"
    raise ValueError(f"'{trial}' must be one of the trials of run {run_id.rpartition('/')[2]}; {has}")


def _matches(name: str) -> Iterator[pl.Expr]:
    yield pl.col("run_uuid") == name.lower()
    yield pl.col("run_name") == name
    yield pl.col("run_uuid").str.starts_with(name.lower()) | pl.col("run_name").str.starts_with(name).fill_null(False)


def _ambiguous(name: str, runs: pl.DataFrame) -> str:
    shown = [
        f"{run['run_uuid'][:12]} ({run['run_name'] or 'no name'}, {run['experiment_name']})"
        for run in runs.sort("run_name", "run_uuid").head(MOST_NAMES).to_dicts()
    ]
    more = f" and {len(runs) - MOST_NAMES} more" if len(runs) > MOST_NAMES else ""
    return f"'{name}' must stand for one run, got {len(runs)}: {', '.join(shown)}{more}; give more of the id"
