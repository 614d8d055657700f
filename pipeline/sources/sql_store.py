"""An MLflow database as a source: the questions are the same for SQLite and PostgreSQL, connecting to them is not."""

import re
from abc import ABC, abstractmethod
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from fnmatch import fnmatchcase
from types import TracebackType
from typing import ClassVar, Self

import adbc_driver_manager
import pyarrow as pa
from adbc_driver_manager import dbapi

from pipeline.errors import SourceUnreadableError
from pipeline.sources.source import EVERYTHING, SERIES_SCHEMA, Scope, source_id_of
from pipeline.sources.sql_queries import (
    REQUIRED_COLUMNS,
    Query,
    experiments_query,
    pairs_query,
    points_query,
    runs_query,
    series_query,
)

# Besides the driver's own errors, those in which Arrow hands on what happens while batches are read.
_FAILURES = (adbc_driver_manager.Error, OSError, pa.ArrowException)


class SQLStore(ABC):
    """What the two databases share; a subclass knows how to connect, to list columns and to bind a list."""

    kind: ClassVar[str]
    """What a reader of messages calls the database."""

    meanings: ClassVar[Sequence[tuple[str, str]]]
    """What a message of the database contains, and what it means for the user; the first that fits counts."""

    refusals: ClassVar[Sequence[str]]
    """What a message of the database contains where there is a store, which refuses us or is busy."""

    def __init__(self) -> None:
        self._connection: dbapi.Connection | None = None
        self._has_workspaces = False
        self._has_latest = False

    @property
    @abstractmethod
    def uri(self) -> str:
        """The address in its canonical form, without a password."""

    @property
    def source_id(self) -> str:
        """A short name of the address, the first half of every `run_id`."""
        return source_id_of(self.uri)

    @property
    def exact_watermark(self) -> bool:
        """A count of points tells of every one that was added."""
        return True

    @property
    def problems(self) -> Mapping[str, str]:
        """None: a database is read or it is not."""
        return {}

    def __enter__(self) -> Self:
        with self._reasons():
            self._connection = self._connect()
            try:
                self._learn_schema(self._connection)
            except BaseException:
                self._close()
                raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._close()

    def runs(self, scope: Scope = EVERYTHING) -> AbstractContextManager[pa.RecordBatchReader]:
        """Every run in scope with `RUN_COLUMNS`; only their points are counted."""
        return self._select(
            runs_query(
                has_workspaces=self._has_workspaces,
                experiment_ids=self._experiment_ids(scope.experiments) if scope.experiments else None,
                since=scope.since,
            )
        )

    def params(self, run_uuids: Sequence[str]) -> AbstractContextManager[pa.RecordBatchReader]:
        """Read the parameters of these runs."""
        return self._select(pairs_query("params", run_uuids))

    def tags(self, run_uuids: Sequence[str]) -> AbstractContextManager[pa.RecordBatchReader]:
        """Read the tags of these runs."""
        return self._select(pairs_query("tags", run_uuids))

    @contextmanager
    def series(self, run_uuids: Sequence[str]) -> Iterator[pa.RecordBatchReader]:
        """Name the series of these runs, without reading their points where `latest_metrics` tells of them."""
        found = self._series(run_uuids, of_latest=True) if self._has_latest else SERIES_SCHEMA.empty_table()
        # A tool that copies runs from store to store may leave `latest_metrics` out.
        told = set(found["run_uuid"].unique().to_pylist())
        untold = [run_uuid for run_uuid in run_uuids if run_uuid not in told]
        if untold:
            found = pa.concat_tables([found, self._series(untold, of_latest=False)])
        yield found.to_reader()

    def points(
        self, run_uuids: Sequence[str], keys: Collection[str] | None = None
    ) -> AbstractContextManager[pa.RecordBatchReader]:
        """Read all points of these runs, or those of the series with these names."""
        return self._select(points_query(run_uuids, keys))

    @abstractmethod
    def _connect(self) -> dbapi.Connection:
        """Open the database, read-only."""

    @abstractmethod
    def _columns(self, cursor: dbapi.Cursor) -> set[tuple[str, str]]:
        """Give (table, column) of every table that can be seen."""

    @abstractmethod
    def _execute(self, cursor: dbapi.Cursor, query: Query) -> None:
        """Start a query, its lists bound as the database unfolds them."""

    def _explain_missing(self, cursor: dbapi.Cursor) -> str | None:
        """Say why tables are missing, where the database can tell."""
        return None

    def _learn_schema(self, connection: dbapi.Connection) -> None:
        with connection.cursor() as cursor:
            columns = self._columns(cursor)
            tables = {table for table, _ in columns}
            missing = [table for table in sorted(REQUIRED_COLUMNS) if table not in tables]
            if missing:
                reason = f"a {self.kind} database but no MLflow store: it has no table {', '.join(missing)}"
                raise SourceUnreadableError(self._explain_missing(cursor) or reason)
        lacking = [
            f"{table}.{name}"
            for table, names in REQUIRED_COLUMNS.items()
            for name in names
            if (table, name) not in columns
        ]
        if lacking:
            raise SourceUnreadableError(
                f"an MLflow store of a schema that cannot be read: it has no column {', '.join(lacking)}; "
                "`mlflow db upgrade` on a copy adds it"
            )
        self._has_workspaces = ("experiments", "workspace") in columns
        self._has_latest = "latest_metrics" in tables

    def _experiment_ids(self, globs: Sequence[str]) -> list[str]:
        with self._select(experiments_query(has_workspaces=self._has_workspaces)) as experiments:
            rows = experiments.read_all().to_pylist()
        return [
            row["experiment_id"] for row in rows if any(fnmatchcase(row["experiment_name"], glob) for glob in globs)
        ]

    def _series(self, run_uuids: Sequence[str], *, of_latest: bool) -> pa.Table:
        with self._select(series_query(run_uuids, of_latest=of_latest)) as reader:
            return reader.read_all()

    @contextmanager
    def _select(self, query: Query) -> Iterator[pa.RecordBatchReader]:
        if self._connection is None:
            raise ValueError(
                f"a store must be entered before it is read; write `with {type(self).__name__}(address) as store:`"
            )
        with self._connection.cursor() as cursor:
            with self._reasons():
                self._execute(cursor, query)
                read = cursor.fetch_record_batch()
            failures: list[Exception] = []
            try:
                yield pa.RecordBatchReader.from_batches(query.schema, _conformed(read, query.schema, failures))
            finally:
                # Whoever reads meets the failure in the guise of Arrow or of another database; here is its reason.
                for failure in failures:
                    raise self._unreadable(failure) from failure

    @contextmanager
    def _reasons(self) -> Iterator[None]:
        try:
            yield
        except _FAILURES as error:
            raise self._unreadable(error) from error

    def _unreadable(self, error: Exception) -> SourceUnreadableError:
        text = str(error)
        meaning = next((meaning for said, meaning in self.meanings if said in text), None)
        reason = reason_of(error) if meaning is None else f"{meaning} ({said_in_one_line(text)})"
        return SourceUnreadableError(reason, stands=any(said in text for said in self.refusals))

    def _close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None


def reason_of(error: BaseException) -> str:
    """Say in one line what a failure is that has no meaning of its own here."""
    return f"{type(error).__name__}: {said_in_one_line(str(error))}"


def said_in_one_line(text: str) -> str:
    """Take the first line of what a database says, without what its driver and its protocol put before it."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    if not lines:
        return "no message"
    line = re.sub(r"^[A-Z_]+: ", "", lines[0])
    line = re.sub(r"^(\[\w+\] )?(Failed to [^:]*|Execution error[^:]*): ", "", line)
    return re.sub(r"^.*?\b(ERROR|FATAL): +", "", line)


def _conformed(batches: pa.RecordBatchReader, schema: pa.Schema, failures: list[Exception]) -> Iterator[pa.RecordBatch]:
    # SQLite's driver knows no types where there are no rows, PostgreSQL's adds its own to each as metadata.
    try:
        for batch in batches:
            yield batch.cast(schema)
    except _FAILURES as error:
        failures.append(error)
        raise
