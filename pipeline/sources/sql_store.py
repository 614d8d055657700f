"""An MLflow SQLite store, read by ADBC and never written.

The address handed to SQLite is always `file:<quoted path>?mode=ro`. A plain path would create a missing file and
checkpoint a left-over write-ahead log, `immutable=1` would not see the log at all, and MLflow's own client would
migrate the store in place.
"""

import json
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self
from urllib.parse import quote

import adbc_driver_manager
import pyarrow as pa
from adbc_driver_sqlite import dbapi

from pipeline.errors import SourceUnreadableError
from pipeline.sources.source import EVERYTHING, PRESET_TAG, ROLE_TAG, SYSTEM_PREFIX, Scope, source_id_of

_BATCH_ROWS: Final = 65_536
_BUSY_TIMEOUT_MS: Final = 10_000
_TABLES: Final = ("experiments", "metrics", "params", "runs", "tags")

# ADBC types a column by its first batch, and a batch of nulls becomes an integer column: no text may be null here.
_RUNS: Final = f"""
with logged as (
    select run_uuid, count(*) as points from metrics
    where substr(key, 1, {len(SYSTEM_PREFIX)}) <> '{SYSTEM_PREFIX}' group by run_uuid
), given as (select run_uuid, count(*) as params from params group by run_uuid
), marked as (
    select
        run_uuid,
        count(*) as tags,
        max(case when key = '{ROLE_TAG}' then value end) as role,
        max(case when key = '{PRESET_TAG}' then value end) as preset,
        max(case when key = 'mlflow.runName' then value end) as name
    from tags group by run_uuid
)
select
    runs.run_uuid as run_uuid,
    cast(runs.experiment_id as text) as experiment_id,
    coalesce(experiments.name, '') as experiment_name,
    coalesce(nullif(runs.name, ''), marked.name, '') as run_name,
    coalesce(runs.status, '') as status,
    coalesce(runs.lifecycle_stage, 'active') as lifecycle_stage,
    coalesce(runs.start_time, -1) as start_time,
    coalesce(runs.end_time, -1) as end_time,
    coalesce(marked.role, '') as role,
    coalesce(marked.preset, '') as preset,
    coalesce(logged.points, 0) as point_count,
    coalesce(given.params, 0) as param_count,
    coalesce(marked.tags, 0) as tag_count,
    cast(coalesce(logged.points, 0) as text) as watermark
from runs
left join experiments on experiments.experiment_id = runs.experiment_id
left join logged on logged.run_uuid = runs.run_uuid
left join given on given.run_uuid = runs.run_uuid
left join marked on marked.run_uuid = runs.run_uuid
"""  # noqa: S608 - the names are literals of this project
_CHOSEN: Final = "run_uuid in (select value from json_each(?))"
_PARAMS: Final = f"select run_uuid, key, coalesce(value, '') as value from params where {_CHOSEN}"  # noqa: S608
_TAGS: Final = f"select run_uuid, key, coalesce(value, '') as value from tags where {_CHOSEN}"  # noqa: S608
_POINTS: Final = f"""
select run_uuid, key, step, timestamp, cast(value as real) as value, is_nan from metrics
where {_CHOSEN} and substr(key, 1, {len(SYSTEM_PREFIX)}) <> '{SYSTEM_PREFIX}'
"""  # noqa: S608
_SERIES: Final = f"""
select distinct run_uuid, key from metrics
where {_CHOSEN} and substr(key, 1, {len(SYSTEM_PREFIX)}) <> '{SYSTEM_PREFIX}'
"""  # noqa: S608
_KEYS: Final = " and key in (select value from json_each(?))"


def sqlite_path(address: str) -> Path:
    """Give the file of `sqlite:////absolute`, `sqlite:///relative` or a plain path, links resolved.

    Raises
    ------
    SourceUnreadableError
        The address has another scheme, or names no file.
    """
    scheme, separator, rest = address.partition("://")
    if not separator:
        path = address
    elif scheme.split("+")[0] != "sqlite":
        raise SourceUnreadableError(f"only MLflow's SQLite stores can be read, got the scheme '{scheme}'")
    else:
        path = rest.partition("?")[0].removeprefix("/")
    if not path.strip():
        raise SourceUnreadableError(f"an address must name a file, got '{address}'; write sqlite:////absolute/path.db")
    return Path(path).expanduser().resolve()


def canonical_uri(address: str) -> str:
    """Give one spelling to all spellings of an address; what is no SQLite address comes back without its password."""
    try:
        return f"sqlite:///{sqlite_path(address)}"
    except SourceUnreadableError:
        return re.sub(r"://([^:/@]*):[^@/]*@", r"://\1:***@", address)


class SQLiteStore:
    """One MLflow SQLite file as a `Source`, open between `with` and its end.

    Parameters
    ----------
    address
        `sqlite:////absolute/path`, `sqlite:///relative/path` or a path.

    Raises
    ------
    SourceUnreadableError
        On entering: the file is missing, empty, no database, no MLflow store, or locked for ten seconds.
    """

    def __init__(self, address: str) -> None:
        self._path = sqlite_path(address)
        self._connection: dbapi.Connection | None = None

    @property
    def uri(self) -> str:
        """The address in its canonical form."""
        return f"sqlite:///{self._path}"

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
        _check_file(self._path)
        with _reasons():
            # Without autocommit ADBC opens a transaction that holds SQLite's shared lock until the connection closes:
            # a training job that logs into a store with a rollback journal would then fail with "database is locked".
            self._connection = dbapi.connect(f"file:{quote(str(self._path))}?mode=ro", autocommit=True)
            try:
                self._check_tables(self._connection)
            except BaseException:
                self._connection.close()
                raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def runs(self, scope: Scope = EVERYTHING) -> Any:
        """Every run with `RUN_COLUMNS`."""
        return self._select(_RUNS)

    def params(self, run_uuids: Sequence[str]) -> Any:
        """Read the parameters of these runs."""
        return self._select(_PARAMS, run_uuids)

    def tags(self, run_uuids: Sequence[str]) -> Any:
        """Read the tags of these runs."""
        return self._select(_TAGS, run_uuids)

    def series(self, run_uuids: Sequence[str]) -> Any:
        """Name the series of these runs."""
        return self._select(_SERIES, run_uuids)

    def points(self, run_uuids: Sequence[str], keys: Collection[str] | None = None) -> Any:
        """Read all points of these runs, or of these series, except those of `system/` series."""
        return self._select(_POINTS, run_uuids, keys)

    @contextmanager
    def _select(
        self, select: str, run_uuids: Sequence[str] | None = None, keys: Collection[str] | None = None
    ) -> Iterator[pa.RecordBatchReader]:
        if self._connection is None:
            raise ValueError("a store must be entered before it is read; write `with SQLiteStore(address) as store:`")
        with self._connection.cursor() as cursor:
            cursor.adbc_statement.set_options(**{"adbc.sqlite.query.batch_rows": str(_BATCH_ROWS)})
            with _reasons():
                # One JSON list instead of one placeholder a run: SQLite bounds the number of placeholders.
                lists = [json.dumps(list(chosen)) for chosen in (run_uuids, keys) if chosen is not None]
                cursor.execute(select + (_KEYS if keys is not None else ""), tuple(lists) or None)
            yield cursor.fetch_record_batch()

    def _check_tables(self, connection: dbapi.Connection) -> None:
        with connection.cursor() as cursor:
            cursor.execute(f"pragma busy_timeout = {_BUSY_TIMEOUT_MS}")
            cursor.execute("select name from sqlite_master where type = 'table' order by name")
            found = {name for (name,) in cursor.fetchall()}
        missing = [table for table in _TABLES if table not in found]
        if missing:
            raise SourceUnreadableError(f"a SQLite database but no MLflow store: it has no table {', '.join(missing)}")


def _check_file(path: Path) -> None:
    try:
        if path.is_dir():
            raise SourceUnreadableError("a folder, not a SQLite file; MLflow's file stores cannot be read yet")
        if path.stat().st_size == 0:
            raise SourceUnreadableError("an empty file (0 bytes)")
    except FileNotFoundError:
        raise SourceUnreadableError("no such file; it was not created") from None
    except OSError as error:
        raise SourceUnreadableError(f"cannot be opened: {error.strerror}") from error


# What SQLite says -> what the user can act on.
_REASONS: Final = (
    ("file is not a database", "not a SQLite database"),
    (
        "attempt to write a readonly database",
        "a crashed writer left a rollback journal beside it; open it once with MLflow, which undoes the unfinished "
        "write, then ingest again",
    ),
    (
        "database is locked",
        f"locked by its writer for more than {_BUSY_TIMEOUT_MS / 1000:.0f} s; ingest it again later",
    ),
    ("no such column", "an MLflow store of a schema that cannot be read"),
)


@contextmanager
def _reasons() -> Iterator[None]:
    try:
        yield
    except (adbc_driver_manager.Error, OSError) as error:
        raise SourceUnreadableError(reason_of(error)) from error


def reason_of(error: BaseException) -> str:
    """Say in one line what a failure while reading a store means."""
    text = str(error)
    for said, meaning in _REASONS:
        if said in text:
            return f"{meaning} ({said})"
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[0] if lines else 'no message'}"
