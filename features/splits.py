"""Runs divided into those to learn from and those to judge by: by run, group or family, never by row.

All rows of a unit go to the same side. Which side is a hash of its name, so that a run that is added tomorrow moves no
other one.
"""

import hashlib
from collections.abc import Iterator
from typing import Final, Literal, get_args

import polars as pl

from features.columns import Columns, require_columns

Unit = Literal["run", "group", "family"]

UNIT_COLUMNS: Final[Columns] = {
    "run_id": pl.String,
    "run_uuid": pl.String,
    "group_name": pl.String,
    "family": pl.String,
}
_COLUMN: Final[dict[Unit, str]] = {"run": "run_uuid", "group": "group_name", "family": "family"}


def folds(runs: pl.DataFrame, unit: Unit, count: int, seed: int = 0) -> pl.DataFrame:
    """Put every run into one of `count` folds of about equal size, all runs of a unit into the same.

    Parameters
    ----------
    runs
        `UNIT_COLUMNS`, one row a run. A copy of a run in another store has its run_uuid, and so has each trial of a
        run that holds several: they are one unit.
    unit
        What is kept together. A family is a data set and all that is made from it.
    count
        At least 2, at most the number of units.
    seed
        Another one divides otherwise.

    Returns
    -------
    pl.DataFrame
        run_id, fold (0 .. count - 1), in the order of `runs`.

    Raises
    ------
    ValueError
        Fewer units than folds, or an argument out of its range.
    """
    column = _column(runs, unit)
    units = runs[column].unique().to_list()
    if count < 2 or count > len(units):
        raise ValueError(
            f"a division by {unit} needs 2 to {len(units)} folds, one {unit} in each at least, got {count}; "
            "take fewer folds, or more runs"
        )
    # In the order of their hashes, dealt out in turn: as even as can be.
    ordered = sorted(units, key=lambda name: hashlib.sha256(f"{seed}:{name}".encode()).digest())
    dealt = pl.DataFrame({column: ordered, "fold": [place % count for place in range(len(ordered))]})
    return runs.select("run_id", column).join(dealt, on=column, maintain_order="left").select("run_id", "fold")


def leave_one_out(runs: pl.DataFrame, unit: Unit) -> Iterator[tuple[str, list[str], list[str]]]:
    """Yield (unit's name, run_ids to learn from, run_ids to judge by) for each unit, by name; as `folds`."""
    column = _column(runs, unit)
    for name in sorted(runs[column].unique().to_list()):
        held_out = pl.col(column) == name
        yield name, runs.filter(~held_out)["run_id"].to_list(), runs.filter(held_out)["run_id"].to_list()


def _column(runs: pl.DataFrame, unit: Unit) -> str:
    if unit not in get_args(Unit):
        raise ValueError(f"runs are divided by {', '.join(get_args(Unit))}, got {unit!r}; never by row")
    column = _COLUMN[unit]
    require_columns("runs", runs, {"run_id": pl.String, column: pl.String})
    if runs[column].null_count():
        raise ValueError(
            f"every run must have a {column} to be divided by {unit}, got {runs[column].null_count()} without"
        )
    return column
