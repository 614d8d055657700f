"""What has become of each run since it was last read: decided from what the source tells, before its points are read.

A run is read whole again when its watermark, its status, its lifecycle stage, its names, or the content of its params
and tags differ from what was copied (MLflow's `latest_metrics` would miss late points at lower steps, a count of tags
an edited one), when a series is asked for that was not copied, and when it had vanished. A narrower or another choice
of series than before takes nothing away: what was copied stays, and is copied anew with a run that is read again.
"""

from collections.abc import Collection, Mapping
from typing import Final

import polars as pl

from pipeline.selection import in_scope
from pipeline.sources.source import Scope

KNOWN_COLUMNS: Final[Mapping[str, type[pl.DataType]]] = {
    "run_id": pl.String,
    "run_uuid": pl.String,
    "status": pl.String,
    "lifecycle_stage": pl.String,
    "experiment_name": pl.String,
    "run_name": pl.String,
    "start_time": pl.Int64,
    "end_time": pl.Int64,
    "watermark": pl.String,
    "content": pl.String,
    "has_vanished": pl.Boolean,
    "lacks_series": pl.Boolean,
}
"""What the warehouse knows of the runs of a source; `end_time` is -1 where there is none, as a source has it;
`lacks_series`: one that is asked for now was not copied."""

_COMPARED: Final = ("status", "lifecycle_stage", "experiment_name", "run_name", "watermark", "content", "end_time")


def with_changes(found: pl.DataFrame, known: pl.DataFrame, *, exact_watermark: bool, full: bool) -> pl.DataFrame:
    """Add to the runs found a column `change`: "new", "updated" (read again) or "unchanged".

    Parameters
    ----------
    found
        Of the source: the columns of `Source.runs`, and content.
    known
        Of the warehouse: `KNOWN_COLUMNS`.
    exact_watermark
        Whether a run's watermark differs whenever its points do. Where it does not, a running run is read again.
    full
        Read every run again.
    """
    both = found.join(known.with_columns(is_known=True), on="run_uuid", how="left", suffix="_known")
    differs = pl.any_horizontal(pl.col(name).ne_missing(pl.col(f"{name}_known")) for name in _COMPARED)
    uncertain = pl.lit(not exact_watermark) & (pl.col("status") == "RUNNING")
    again = pl.lit(full) | differs | uncertain | pl.col("has_vanished") | pl.col("lacks_series")
    change = (
        pl.when(pl.col("is_known").is_null())
        .then(pl.lit("new"))
        .when(again)
        .then(pl.lit("updated"))
        .otherwise(pl.lit("unchanged"))
    )
    return both.with_columns(change=change).select(*found.columns, "change")


def missed(known: pl.DataFrame, seen: Collection[str], scope: Scope) -> list[str]:
    """Name the known runs that a source asked for this scope should have told of and did not; run_uuids."""
    expected = known.filter(~pl.col("has_vanished") & in_scope(known, scope))
    return expected.filter(~pl.col("run_uuid").is_in(list(seen)))["run_uuid"].sort().to_list()
