"""Which runs are alike: a preset belongs to a group of them."""

import hashlib
import re
import unicodedata
from collections.abc import Mapping, Sequence
from typing import Final

import polars as pl

from features.columns import Columns, require_columns
from features.declared_settings import PARAM_COLUMNS

RUN_COLUMNS: Final[Columns] = {
    "run_id": pl.String,
    "source_id": pl.String,
    "experiment_name": pl.String,
    "start_time": pl.Int64,
}
USABLE_COLUMNS: Final[Columns] = {"run_id": pl.String, "usable": pl.Boolean, "optimizer": pl.String}
TAG_COLUMNS: Final = PARAM_COLUMNS

_LONGEST: Final = 60
_NO_EXPERIMENT: Final = "Default"  # MLflow's name for runs of no experiment


def groups(
    runs: pl.DataFrame,
    params: pl.DataFrame,
    usable: pl.DataFrame,
    by: Sequence[str] = ("experiment", "optimizer"),
    *,
    tags: pl.DataFrame | None = None,
) -> pl.DataFrame:
    """Put each usable run into the group of the runs that share its values.

    An experiment of one name in several stores is one experiment, except MLflow's `Default`, which is none. A group is
    named after its values, what is unknown left out: experiment "MNIST MLP" and optimizer "sgd" make "mnist-mlp-sgd".
    Where two groups would have one name, the one with the oldest run keeps it, and the others get a hash of theirs.

    Parameters
    ----------
    runs
        `RUN_COLUMNS`.
    params, tags
        run_id, key, value; tags only where `by` names one.
    usable
        `USABLE_COLUMNS`, the table of `run_descriptors`.
    by
        "experiment", "optimizer", "param:NAME", "tag:NAME", in the order of the name.

    Returns
    -------
    pl.DataFrame
        group_name, run_id; sorted.

    Raises
    ------
    ValueError
        `by` is empty or names something else; a column is missing.
    """
    require_columns("runs", runs, RUN_COLUMNS)
    require_columns("params", params, PARAM_COLUMNS)
    require_columns("usable", usable, USABLE_COLUMNS)
    if not by or isinstance(by, str):
        raise ValueError(
            f"runs must be grouped by a list of at least one thing, got {by!r}; the usual one is experiment"
        )
    chosen = runs.join(usable.filter("usable").select("run_id", "optimizer"), on="run_id").with_columns(
        # Two runs of no experiment in two stores have nothing in common.
        pl.when(pl.col("experiment_name") == _NO_EXPERIMENT).then("source_id").otherwise(pl.lit("")).alias("apart")
    )
    values = []
    for number, item in enumerate(by):
        chosen = _with_value(chosen, item, f"value_{number}", params, tags)
        values.append(f"value_{number}")
    identity = [*values, *(["apart"] if "experiment" in by else [])]
    found = chosen.group_by(identity).agg(oldest=pl.col("start_time").min()).sort("oldest", *identity, nulls_last=True)
    named = found.with_columns(
        group_name=pl.Series(_names(found.select(identity).rows(), len(values)), dtype=pl.String)
    )
    return chosen.join(named, on=identity, nulls_equal=True).select("group_name", "run_id").sort("group_name", "run_id")


def slug(text: str) -> str:
    """Keep letters a-z and digits, accents taken off, the rest one hyphen: "Café №1" becomes "cafe-no1"."""
    plain = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode().lower()
    return re.sub(r"[^a-z0-9]+", "-", plain).strip("-")


def _with_value(
    chosen: pl.DataFrame, item: str, name: str, params: pl.DataFrame, tags: pl.DataFrame | None
) -> pl.DataFrame:
    kind, _, key = item.partition(":")
    if item == "experiment":
        return chosen.with_columns(pl.col("experiment_name").alias(name))
    if item == "optimizer":
        return chosen.with_columns(pl.col("optimizer").alias(name))
    tables: Mapping[str, pl.DataFrame | None] = {"param": params, "tag": tags}
    if kind not in tables or not key:
        raise ValueError(f"runs can be grouped by experiment, optimizer, param:NAME or tag:NAME, got '{item}'")
    table = tables[kind]
    if table is None:
        raise ValueError(f"grouping by '{item}' needs the table of tags; pass tags=")
    require_columns(f"{kind}s", table, PARAM_COLUMNS)
    values = table.filter(pl.col("key") == key).unique("run_id").select("run_id", pl.col("value").alias(name))
    return chosen.join(values, on="run_id", how="left")


def _names(identities: Sequence[tuple[str | None, ...]], named_by: int) -> list[str]:
    """Name each identity, the oldest first."""
    names: list[str] = []
    taken: set[str] = set()
    for identity in identities:
        plain = "-".join(part for part in map(slug, (value for value in identity[:named_by] if value)) if part)
        name = plain or "runs"
        if name in taken or len(name) > _LONGEST:
            digest = hashlib.sha256(repr(identity).encode()).hexdigest()[:6]
            name = f"{name[:_LONGEST].rstrip('-')}-{digest}"
        taken.add(name)
        names.append(name)
    return names
