"""What an open source holds against what the warehouse knows of it: before a point is read, and nothing is written."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

import polars as pl

from pipeline.catalogue import Catalogue, read_catalogue, read_runs
from pipeline.changes import missed, with_changes
from pipeline.ingest_options import IngestOptions
from pipeline.known_runs import Known, copied_series, known, with_lacking_series
from pipeline.source_identity import is_there, origin, source_id_at
from pipeline.sources.source import EVERYTHING, FOLDER_PROBLEM, Scope, Source
from pipeline.warehouse import Warehouse


@dataclass(frozen=True, kw_only=True)
class Examination:
    """What is to be done with a source.

    Parameters
    ----------
    source_id
        The id under which its runs are kept.
    catalogue
        What it told of its runs.
    runs
        Those in the choice, with `change`.
    copied
        run_uuid, key of the series that were copied of the updated runs: they are copied again, asked for or not.
    vanished
        run_ids that it had and has no more.
    ours
        run_ids in the warehouse that turned out to be made by this project.
    remark
        What is odd about it, or None.
    """

    source_id: str
    catalogue: Catalogue
    runs: pl.DataFrame
    copied: pl.DataFrame
    vanished: list[str]
    ours: list[str]
    remark: str | None

    @property
    def to_copy(self) -> pl.DataFrame:
        """The new and the updated runs, the oldest first."""
        return self.runs.filter(pl.col("change") != "unchanged").sort("start_time", "run_uuid")

    def count(self, change: str) -> int:
        """Count the runs of which this has become."""
        return int((self.runs["change"] == change).sum())


def examine(
    source: Source,
    warehouse: Warehouse,
    options: IngestOptions,
    *,
    beside: Collection[str] = (),
) -> Examination:
    """Ask an open source for its runs and compare.

    Parameters
    ----------
    source, warehouse
        What is compared.
    options
        What is asked for.
    beside
        The addresses that are read in the same ingestion: what stands there has not moved.
    """
    now = datetime.now(UTC)
    scope = options.selection.scope(now)
    catalogue = read_catalogue(source, options.selection, now)
    knows = known(warehouse)
    source_id = source_id_at(source.uri, knows.source_ids)
    moved_from = None
    if knows.of(source_id).is_empty():
        moved_from = _moved_from(catalogue.seen, knows, scope, {*beside, source.uri})
        source_id = moved_from or source_id
    before = with_lacking_series(warehouse, knows.of(source_id), source_id, options.choose)
    gone = missed(before, catalogue.seen, scope)
    if gone and scope != EVERYTHING:
        # A run whose experiment was renamed has only left the scope.
        gone = missed(before, catalogue.seen | set(read_runs(source.runs(EVERYTHING))["run_uuid"]), scope)
    gone = _surely_gone(gone, source.problems)
    ids = dict(before.select("run_uuid", "run_id").iter_rows())
    runs = with_changes(catalogue.runs, before, exact_watermark=source.exact_watermark, full=options.full)
    updated = runs.filter(pl.col("change") == "updated")["run_uuid"]
    return Examination(
        source_id=source_id,
        catalogue=catalogue,
        runs=runs,
        copied=copied_series(warehouse, [ids[run_uuid] for run_uuid in updated]),
        vanished=[ids[run_uuid] for run_uuid in gone],
        ours=[ids[run_uuid] for run_uuid in sorted(catalogue.ours & set(ids))],
        remark=_moved(knows, moved_from) or _replaced(before, gone, catalogue) or _empty(catalogue, scope),
    )


def _surely_gone(gone: list[str], problems: Mapping[str, str]) -> list[str]:
    """Leave out what may only be unreadable: a run that has a problem, and every run where a whole folder has one."""
    if any(name.startswith(FOLDER_PROBLEM) for name in problems):
        return []
    return [run_uuid for run_uuid in gone if run_uuid not in problems]


def _moved_from(seen: Collection[str], knows: Known, scope: Scope, beside: Collection[str]) -> str | None:
    elsewhere = [source_id for uri, source_id in knows.source_ids.items() if uri not in beside]
    runs = knows.runs.filter(pl.col("source_id").is_in(elsewhere) & ~pl.col("has_vanished"))
    source_id = origin(seen, runs, scope)
    if source_id is None or is_there(knows.uri_of(source_id), knows.of(source_id)["run_uuid"].to_list()):
        return None
    return source_id


def _moved(knows: Known, source_id: str | None) -> str | None:
    return None if source_id is None else f"moved here from {knows.uri_of(source_id)}"


def _replaced(before: pl.DataFrame, gone: Collection[str], catalogue: Catalogue) -> str | None:
    was_there = before.filter(~pl.col("has_vanished"))
    if not gone or not catalogue.seen or len(gone) < len(was_there):
        return None
    return f"another store than before: it has none of the {len(gone):,} runs known from here, which are kept"


def _empty(catalogue: Catalogue, scope: Scope) -> str | None:
    if not catalogue.seen:
        return "holds no runs" if scope == EVERYTHING else "holds no runs of the experiments and the time asked for"
    return "holds no runs but those trained by greedylr" if catalogue.seen == catalogue.ours else None
