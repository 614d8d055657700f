"""What an ingestion would do, and how long it would take: nothing is written, and only a sample of points is read."""

import time
from collections.abc import Sequence
from typing import Final

import polars as pl

from pipeline.copying import asked_for, expected_points, read_points, read_series
from pipeline.errors import GreedyLRPipelineError, SourceUnreadableError
from pipeline.examination import Examination, examine
from pipeline.ingest_options import EVERYTHING_NEW, IngestOptions
from pipeline.ingest_report import SourcePlan, left_out_as_unreadable, problems_remark
from pipeline.ingestion import check_addresses, in_one_line
from pipeline.selection import ChooseSeries
from pipeline.sources.opening import canonical_uri, open_source
from pipeline.sources.source import UNCOUNTED, Source
from pipeline.warehouse import Warehouse

_SAMPLE_POINTS: Final = 200_000
"""Ten runs where the source cannot count, as `expected_points` takes them."""

_WRITTEN_PER_SECOND: Final = 1_000_000
"""Points that the warehouse takes in, on a slow core: `benchmarks/ingestion.py` shows about twice as many."""


def plan_ingestion(
    warehouse: Warehouse,
    addresses: Sequence[str],
    options: IngestOptions = EVERYTHING_NEW,
) -> tuple[SourcePlan, ...]:
    """Say of each source what `ingest` would do; arguments and errors are those of `ingest`."""
    check_addresses(addresses, warehouse, options.refused_uri)
    beside = frozenset(map(canonical_uri, addresses))
    plans = []
    for address in addresses:
        try:
            with open_source(address) as source:
                plans.append(_plan(source, warehouse, options, beside))
        except SourceUnreadableError as error:
            plans.append(SourcePlan(uri=canonical_uri(address), is_readable=False, reason=str(error)))
        except GreedyLRPipelineError:
            raise
        except Exception as error:  # the same border as in an ingestion: one broken store stops no other
            plans.append(SourcePlan(uri=canonical_uri(address), is_readable=False, reason=in_one_line(error)))
    return tuple(plans)


def _plan(source: Source, warehouse: Warehouse, options: IngestOptions, beside: frozenset[str]) -> SourcePlan:
    started = time.perf_counter()
    examination = examine(source, warehouse, options, beside=beside - {source.uri})
    to_copy = examination.to_copy
    looking = time.perf_counter() - started
    sampled, rate = _sample(source, to_copy, options.choose)
    points, is_exact = _points(source, examination, options.choose, sampled)
    return SourcePlan(
        uri=source.uri,
        is_readable=True,
        reason="; ".join(filter(None, (examination.remark, problems_remark(source.problems)))) or None,
        runs_new=examination.count("new"),
        runs_updated=examination.count("updated"),
        runs_unchanged=examination.count("unchanged"),
        runs_vanished=len(examination.vanished),
        skipped=examination.catalogue.left_out | left_out_as_unreadable(source.problems, examination.catalogue.seen),
        points=points,
        is_exact=is_exact,
        points_per_second=rate,
        seconds=looking + (points / rate + points / _WRITTEN_PER_SECOND if rate else 0.0),
    )


def _sample(source: Source, runs: pl.DataFrame, choose: ChooseSeries | None) -> tuple[pl.DataFrame, float | None]:
    """Read a few runs from here and there; return the points of each chosen series, and how many come in a second."""
    run_uuids: list[str] = []
    expected = 0
    shuffled = runs.sample(fraction=1.0, shuffle=True, seed=0)
    for run_uuid, points in zip(shuffled["run_uuid"], expected_points(shuffled), strict=True):
        if run_uuids and expected + points > _SAMPLE_POINTS:
            break
        run_uuids.append(run_uuid)
        expected += points
    if not run_uuids:
        return _per_series(pl.DataFrame(schema={"run_uuid": pl.String, "key": pl.String})), None
    keys = None if choose is None else sorted(choose(read_series(source, run_uuids)["key"].unique().to_pylist()))
    started = time.perf_counter()
    read = pl.from_arrow(read_points(source, run_uuids, keys))
    seconds = time.perf_counter() - started
    assert isinstance(read, pl.DataFrame)
    return _per_series(read.select("run_uuid", "key")), len(read) / seconds if len(read) else None


def _per_series(points: pl.DataFrame) -> pl.DataFrame:
    return points.group_by("run_uuid", "key").len("points")


def _points(
    source: Source, examination: Examination, choose: ChooseSeries | None, sampled: pl.DataFrame
) -> tuple[int, bool]:
    """Return how many points would be copied, and whether this is more than an estimate."""
    runs = examination.to_copy
    counted = runs.filter(pl.col("point_count") != UNCOUNTED)
    if runs.is_empty():
        return 0, True
    if choose is None and len(counted) == len(runs):
        return int(counted["point_count"].sum()), True
    series = pl.from_arrow(read_series(source, runs["run_uuid"].to_list()))
    assert isinstance(series, pl.DataFrame)
    chosen = series["key"].unique().to_list() if choose is None else list(choose(series["key"].unique().to_list()))
    copied = asked_for(series, chosen, examination.copied).group_by("run_uuid").len("chosen")
    both = runs.join(copied, on="run_uuid", how="left").join(
        series.group_by("run_uuid").len("all"), on="run_uuid", how="left"
    )
    both = both.with_columns(share=pl.col("chosen") / pl.col("all")).fill_null(0)
    usual = sampled["points"].mean() or 0.0
    expected = pl.when(pl.col("point_count") == UNCOUNTED).then(pl.col("chosen") * usual)
    return round(both.select(expected.otherwise(pl.col("point_count") * pl.col("share")).sum()).item()), False
