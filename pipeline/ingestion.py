"""Copy the runs of MLflow stores into the warehouse: read-only, the runs in the choice, only what has changed.

One batch of runs is one transaction, so whoever is killed goes on where the last batch ended, and comes to the same
tables as if nothing had happened.
"""

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import duckdb
import polars as pl

from pipeline.copying import batches, delete_runs, expected_points, write
from pipeline.errors import GreedyLRPipelineError, SourceUnreadableError
from pipeline.examination import Examination, examine
from pipeline.ingest_options import EVERYTHING_NEW, IngestOptions
from pipeline.ingest_report import IngestReport, SourceReport, left_out_as_unreadable, problems_remark
from pipeline.known_runs import known
from pipeline.source_identity import source_id_at
from pipeline.source_records import record
from pipeline.sources.opening import canonical_uri, open_source, shown
from pipeline.sources.source import Source
from pipeline.warehouse import Warehouse, utc_now

logger = logging.getLogger(__name__)

Progress = Callable[[str, int, int], None]
"""Called as (what, done, total)."""


@dataclass(frozen=True, kw_only=True)
class _Work:
    warehouse: Warehouse
    addresses: tuple[str, ...]
    options: IngestOptions
    progress: Progress | None

    @property
    def beside(self) -> frozenset[str]:
        return frozenset(map(canonical_uri, self.addresses))


@dataclass(kw_only=True)
class _Tally:
    """What is finished of a source so far."""

    started: float = field(default_factory=time.perf_counter)
    examination: Examination | None = None
    copied: set[str] = field(default_factory=set)
    points: int = 0


def ingest(
    warehouse: Warehouse,
    addresses: Sequence[str],
    options: IngestOptions = EVERYTHING_NEW,
    *,
    progress: Progress | None = None,
) -> IngestReport:
    """Copy what is new in each store; a store that cannot be read is reported and never stops the others.

    Parameters
    ----------
    warehouse
        Where to; created if there is none yet and at least one source can be read.
    addresses
        What `open_source` takes.
    options
        What of them is read.
    progress
        Called with (address, points copied, points expected in all).

    Raises
    ------
    ValueError
        No address, the same store twice, the registry, or the warehouse itself.
    WarehouseLockedError, WarehouseTooNewError, WarehouseUnreadableError, WarehouseInaccessibleError
        The warehouse cannot be written; found out before any source is read.
    """
    check_addresses(addresses, warehouse, options.refused_uri)
    warehouse.check_writable()
    work = _Work(warehouse=warehouse, addresses=tuple(addresses), options=options, progress=progress)
    report = IngestReport(sources=tuple(_ingest_source(work, address) for address in addresses))
    failed = [source for source in report.sources if source.status != "read"]
    # Where nothing could be read and no warehouse is yet, none is made.
    if failed and warehouse.path.exists():
        source_ids = known(warehouse).source_ids
        with warehouse.writing() as connection:
            for source in failed:
                source_id = source.source_id or source_id_at(source.uri, source_ids)
                record(connection, source_id, source.uri, source.status, source.reason)
    return report


def check_addresses(addresses: Sequence[str], warehouse: Warehouse, registry_uri: str | None) -> None:
    """Raise ValueError for no address, one given twice, that of the registry (None allows it) or of the warehouse."""
    if not addresses:
        raise ValueError("at least one source must be given, got none; name an MLflow store: sqlite:////path/mlflow.db")
    seen: dict[str, str] = {}
    registry = None if registry_uri is None else canonical_uri(registry_uri)
    for address in addresses:
        uri, given = canonical_uri(address), shown(address)
        if uri in seen:
            raise ValueError(
                f"each source must be given once, got '{seen[uri]}' and '{given}', which are both {uri}; drop one"
            )
        if uri == canonical_uri(str(warehouse.path)):
            raise ValueError(
                f"the warehouse must be a file of its own, got the source '{given}' for it; name another with "
                "--warehouse"
            )
        if uri == registry:
            raise ValueError(
                f"a source must not be the registry, got '{given}' for both; name the registry a store of its own, "
                "or allow the registry as a source"
            )
        seen[uri] = given


def _ingest_source(work: _Work, address: str) -> SourceReport:
    tally = _Tally()
    try:
        with open_source(address) as source:
            return _copy(work, source, tally)
    except SourceUnreadableError as error:
        reason = str(error)
    except GreedyLRPipelineError:
        raise
    except KeyboardInterrupt:
        _say_what_is_kept(tally, canonical_uri(address))
        raise
    except Exception as error:  # the border that keeps one broken store from stopping the others
        reason = in_one_line(error)
        logger.warning("reading %s failed: %s", canonical_uri(address), reason)
        logger.debug("where it failed", exc_info=True)
    return _broken(tally, canonical_uri(address), reason)


def _copy(work: _Work, source: Source, tally: _Tally) -> SourceReport:
    examination = examine(source, work.warehouse, work.options, beside=work.beside - {source.uri})
    tally.examination = examination
    changed = examination.to_copy
    expected = dict(zip(changed["run_uuid"], expected_points(changed), strict=True))
    _tell(work, source.uri, tally, expected)
    for batch in batches(source, examination, work.options.choose):
        tally.points += write(work.warehouse, batch, examination, source.uri)
        tally.copied.update(batch.run_uuids)
        _tell(work, source.uri, tally, expected)
    remark = "; ".join(filter(None, (examination.remark, problems_remark(source.problems)))) or None
    with work.warehouse.writing() as connection:
        _finish(connection, source.uri, examination, remark)
    return SourceReport(
        uri=source.uri,
        source_id=examination.source_id,
        status="read",
        reason=remark,
        runs_new=examination.count("new"),
        runs_updated=examination.count("updated"),
        runs_unchanged=examination.count("unchanged"),
        runs_vanished=len(examination.vanished),
        skipped=examination.catalogue.left_out | left_out_as_unreadable(source.problems, examination.catalogue.seen),
        points=tally.points,
        seconds=time.perf_counter() - tally.started,
    )


def _tell(work: _Work, uri: str, tally: _Tally, expected: dict[str, int]) -> None:
    """Report points copied, and how many it will be if the rest is like what was copied so far."""
    if work.progress is None or not expected:
        return
    done = sum(expected[run_uuid] for run_uuid in tally.copied)
    left = sum(expected.values()) - done
    share = tally.points / done if done else 1.0
    work.progress(uri, tally.points, tally.points + round(share * left))


def _finish(connection: duckdb.DuckDBPyConnection, uri: str, examination: Examination, remark: str | None) -> None:
    if examination.ours:
        delete_runs(connection, examination.ours)
    if examination.vanished:
        connection.register("vanished", pl.DataFrame({"run_id": examination.vanished}).to_arrow())
        connection.execute("update runs set vanished_at = ? where run_id in (from vanished)", [utc_now()])
    record(connection, examination.source_id, uri, "read", remark)


def _broken(tally: _Tally, uri: str, reason: str) -> SourceReport:
    seconds = time.perf_counter() - tally.started
    if tally.examination is None or not tally.copied:
        return SourceReport(uri=uri, status="unreadable", reason=reason, seconds=seconds)
    finished = tally.examination.runs.filter(pl.col("run_uuid").is_in(list(tally.copied)))["change"]
    left = len(tally.examination.to_copy) - len(tally.copied)
    return SourceReport(
        uri=uri,
        source_id=tally.examination.source_id,
        status="broken off",
        reason=f"{reason}; {left:,} runs are still to be read",
        runs_new=int((finished == "new").sum()),
        runs_updated=int((finished == "updated").sum()),
        runs_unchanged=tally.examination.count("unchanged"),
        skipped=tally.examination.catalogue.left_out,
        points=tally.points,
        seconds=seconds,
    )


def in_one_line(error: Exception) -> str:
    """Say what an exception that nobody expected is, without the passwords of addresses."""
    lines = [line.strip() for line in shown(str(error)).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[0] if lines else 'no message'}"


def _say_what_is_kept(tally: _Tally, uri: str) -> None:
    if tally.examination is not None:
        changed = len(tally.examination.to_copy)
        logger.warning("%s: %d of %d new and changed runs are kept", uri, len(tally.copied), changed)
