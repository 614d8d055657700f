"""The warehouse: one DuckDB file that only short transactions touch.

DuckDB lets one process write, or several read. So nobody keeps a connection: open, work, close. A writer waits for the
lock and then names its holder.
"""

import logging
import re
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import duckdb
import polars as pl

from pipeline.errors import (
    WarehouseInaccessibleError,
    WarehouseLockedError,
    WarehouseMissingError,
    WarehouseTooNewError,
    WarehouseUnreadableError,
)

logger = logging.getLogger(__name__)

EVERY_GROUP: Final = "*"
"""The group name of stages that are made for all runs at once: roles, trajectories, usable runs, groups."""

_SCHEMA: Final = Path(__file__).parent / "schema"
_MIGRATIONS_TABLE: Final = """
create table if not exists migrations (number integer primary key, name varchar not null, applied_at timestamp not null)
"""
_POLL_S: Final = 0.05

# DuckDB opens a SQLite file, among others, by an extension that it would first fetch from the network.
_SETTINGS: Final = {"autoinstall_known_extensions": False, "autoload_known_extensions": False}
_MAGIC: Final = b"DUCK"
_MAGIC_AT: Final = slice(8, 12)


class Warehouse:
    """A DuckDB file with the tables of `schema/`.

    Parameters
    ----------
    path
        The file. Nothing is created until something is written.
    lock_timeout_s
        How long to wait for another process or thread, in seconds.
    """

    def __init__(self, path: Path, *, lock_timeout_s: float = 10.0) -> None:
        if not 0 <= lock_timeout_s < float("inf"):
            raise ValueError(f"lock_timeout_s must be a finite number of seconds >= 0, got {lock_timeout_s}")
        self.path = Path(path)
        self._lock_timeout_s = lock_timeout_s
        self._writer = threading.Lock()

    @contextmanager
    def reading(self) -> Iterator[duckdb.DuckDBPyConnection]:
        """Open the warehouse read-only; a schema of an earlier release is brought up to date first.

        Raises
        ------
        WarehouseMissingError, WarehouseLockedError, WarehouseTooNewError, WarehouseUnreadableError,
        WarehouseInaccessibleError
        """
        if not _is_there(self.path):
            raise WarehouseMissingError(
                f"there is no warehouse at {self.path}; `greedylr ingest ADDRESS` writes one, --warehouse names another"
            )
        connection = self._connect(read_only=True)
        try:
            if self._schema_number(connection) < latest_schema():
                connection.close()
                with self.writing():
                    pass
                connection = self._connect(read_only=True)
            yield connection
        finally:
            connection.close()

    @contextmanager
    def writing(self) -> Iterator[duckdb.DuckDBPyConnection]:
        """Open the warehouse for one transaction: created and migrated if need be, undone if the block raises.

        Raises
        ------
        WarehouseLockedError
            Another process or thread held it for `lock_timeout_s`.
        WarehouseTooNewError, WarehouseUnreadableError, WarehouseInaccessibleError
        """
        if not self._writer.acquire(timeout=self._lock_timeout_s):
            raise WarehouseLockedError(_locked(self.path, "another thread of this process"))
        try:
            _is_there(self.path)
            with _system_errors(self.path):
                self.path.parent.mkdir(parents=True, exist_ok=True)
            connection = self._connect(read_only=False)
            try:
                self._migrate(connection)
                with _transaction(connection):
                    yield connection
            except duckdb.IOException as error:
                raise WarehouseInaccessibleError(_inaccessible(self.path, error)) from error
            finally:
                connection.close()
        finally:
            self._writer.release()

    def check_writable(self) -> None:
        """Raise what `writing` would raise now, and create nothing."""
        if _is_there(self.path):
            with self.writing():
                return
        with _system_errors(self.path):
            folder = next(folder for folder in self.path.absolute().parents if folder.exists())
            with tempfile.TemporaryFile(dir=folder):
                pass

    def frame(self, query: str, parameters: Sequence[object] = ()) -> pl.DataFrame:
        """Run one query; `?` stands for a parameter."""
        with self.reading() as connection:
            return frame_of(connection, query, parameters)

    def stage_key(self, group_name: str, stage: str) -> str | None:
        """Give the key under which a stage of a group was last finished, or None."""
        with self.reading() as connection:
            rows = connection.execute(
                "select key from stages where group_name = ? and stage = ?", [group_name, stage]
            ).fetchall()
        return str(rows[0][0]) if rows else None

    def finish_stage(self, group_name: str, stage: str, key: str, tables: Mapping[str, pl.DataFrame]) -> None:
        """Replace a stage's rows and record its key, all in one transaction.

        What is replaced: of a table with a column `group_name`, the rows of that group; of a table by run, the rows of
        the group's runs and of the runs in the frame. With `EVERY_GROUP`, the whole table.

        Parameters
        ----------
        group_name, stage, key
            The row of `stages`.
        tables
            Frames by table name. Columns are matched by name and must be those of the table; `group_name` may be left
            out, for it is filled in.

        Raises
        ------
        ValueError
            A frame's columns are not the table's (the message is the difference), or its rows are of another group.
        """
        with self.writing() as connection:
            for table, frame in tables.items():
                rows = _checked(connection, table, group_name, frame)
                connection.register("stage_rows", rows.to_arrow())
                _delete_rows(connection, table, group_name)
                connection.execute(f'insert into "{table}" by name select * from stage_rows')  # noqa: S608 - checked
                connection.unregister("stage_rows")
            connection.execute("insert or replace into stages values (?, ?, ?, ?)", [group_name, stage, key, utc_now()])

    def _connect(self, *, read_only: bool) -> duckdb.DuckDBPyConnection:
        deadline = time.monotonic() + self._lock_timeout_s
        while True:
            try:
                return duckdb.connect(str(self.path), read_only=read_only, config=dict(_SETTINGS))
            except (duckdb.IOException, duckdb.ConnectionException) as error:
                holder = _holder(error)
                if holder is None and "Cannot open file" in str(error):
                    raise WarehouseInaccessibleError(_inaccessible(self.path, error)) from error
                if holder is None:
                    raise WarehouseUnreadableError(_unreadable(self.path, str(error).splitlines()[0])) from error
                if time.monotonic() >= deadline:
                    raise WarehouseLockedError(_locked(self.path, holder)) from error
                time.sleep(_POLL_S)

    def _schema_number(self, connection: duckdb.DuckDBPyConnection) -> int:
        names = {name for (name,) in connection.execute("select table_name from duckdb_tables()").fetchall()}
        if "migrations" not in names:
            if names:
                raise WarehouseUnreadableError(_unreadable(self.path, f"it has the tables {', '.join(sorted(names))}"))
            return 0
        # Every result is fetched to its end: DuckDB 2 refuses the next statement otherwise.
        [(number,)] = connection.execute("select coalesce(max(number), 0)::integer from migrations").fetchall()
        if number > latest_schema():
            raise WarehouseTooNewError(
                f"the warehouse must be of schema {latest_schema()} or earlier, got {number} at {self.path}; "
                "use the release of greedylr that wrote it, or a later one"
            )
        return int(number)

    def _migrate(self, connection: duckdb.DuckDBPyConnection) -> None:
        number = self._schema_number(connection)
        if number == latest_schema():
            return
        for path in migrations():
            if migration_number(path) > number:
                with _transaction(connection):
                    connection.execute(_MIGRATIONS_TABLE)
                    connection.execute(path.read_text(encoding="utf-8"))
                    connection.execute(
                        "insert into migrations values (?, ?, ?)", [migration_number(path), path.stem[5:], utc_now()]
                    )
                logger.info("applied migration %s to %s", path.name, self.path)


def frame_of(connection: duckdb.DuckDBPyConnection, query: str, parameters: Sequence[object] = ()) -> pl.DataFrame:
    """Run one query on an open connection."""
    relation = connection.sql(query, params=list(parameters))
    if relation is None:
        raise ValueError(f"a query must return rows, got '{query.strip().splitlines()[0]}'; write inside writing()")
    frame = pl.from_arrow(relation.to_arrow_table())
    assert isinstance(frame, pl.DataFrame)
    return frame


def migrations() -> list[Path]:
    """List the numbered SQL files in order."""
    return sorted(_SCHEMA.glob("[0-9][0-9][0-9][0-9]_*.sql"))


def migration_number(path: Path) -> int:
    """Give the number that a migration's file name begins with."""
    return int(path.name[:4])


def latest_schema() -> int:
    """Give the number of the newest migration that this release knows."""
    return migration_number(migrations()[-1])


def utc_now() -> datetime:
    """Give the time as the warehouse holds it: UTC, without a zone."""
    return datetime.now(UTC).replace(tzinfo=None)


@contextmanager
def _transaction(connection: duckdb.DuckDBPyConnection) -> Iterator[None]:
    connection.begin()
    try:
        yield
    except BaseException:
        # DuckDB has already ended the transaction where the statement that failed was fatal to it.
        try:
            connection.rollback()
        except duckdb.TransactionException:
            logger.debug("the failed transaction was already undone")
        raise
    connection.commit()


def _is_there(path: Path) -> bool:
    """Say whether there is a file; what is no DuckDB file is refused before DuckDB guesses what it might be."""
    with _system_errors(path):
        if not path.exists():
            return False
        if not path.is_file():
            raise WarehouseUnreadableError(_unreadable(path, "a folder" if path.is_dir() else "not a regular file"))
        with path.open("rb") as file:
            head = file.read(_MAGIC_AT.stop)
    # An empty file is DuckDB's to judge: another process may be making it.
    if head and head[_MAGIC_AT] != _MAGIC:
        kind = "a SQLite file" if head.startswith(b"SQLite form") else "a file of another kind"
        raise WarehouseUnreadableError(_unreadable(path, kind))
    return True


@contextmanager
def _system_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise WarehouseInaccessibleError(_inaccessible(path, error.strerror or error)) from error


def _unreadable(path: Path, found: str) -> str:
    return (
        f"a warehouse must be a DuckDB file that greedylr has written, got {path}: {found}; "
        "name another with --warehouse, a new one is made where none is yet"
    )


def _inaccessible(path: Path, reason: object) -> str:
    return (
        f"the warehouse must lie where it can be opened and written, got {path}: {str(reason).splitlines()[0]}; "
        "see to permissions and free space there, or name another with --warehouse"
    )


def _holder(error: duckdb.Error) -> str | None:
    text = str(error)
    if "different configuration" in text:
        return "another connection of this process"
    held = re.search(r"lock is held in (.*?) ?\(PID (\d+)\)", text)
    if held:
        return f"process {held[2]} ({held[1]})"
    return "another process" if "Could not set lock" in text else None


def _locked(path: Path, holder: str) -> str:
    return f"the warehouse must be free to be opened, got {path} held by {holder}; wait for it to end, or stop it"


def _checked(connection: duckdb.DuckDBPyConnection, table: str, group_name: str, frame: pl.DataFrame) -> pl.DataFrame:
    expected = [
        name
        for (name,) in connection.execute(
            "select column_name from duckdb_columns() where table_name = ? and not internal order by column_index",
            [table],
        ).fetchall()
    ]
    if not expected:
        raise ValueError(f"a stage's rows must go to a table of the warehouse, got '{table}'")
    if "group_name" in expected and "group_name" not in frame.columns and group_name != EVERY_GROUP:
        frame = frame.with_columns(group_name=pl.lit(group_name))
    missing = [name for name in expected if name not in frame.columns]
    unknown = [name for name in frame.columns if name not in expected]
    if missing or unknown:
        raise ValueError(
            f"the columns of table {table} must be {', '.join(expected)}; "
            f"missing: {', '.join(missing) or 'none'}; unknown: {', '.join(unknown) or 'none'}"
        )
    if "group_name" in expected and group_name != EVERY_GROUP:
        others = frame["group_name"].unique().drop_nulls().to_list()
        if set(others) - {group_name}:
            raise ValueError(f"rows for {table} must be of group '{group_name}', got {sorted(map(str, others))}")
    return frame.select(expected)


def _delete_rows(connection: duckdb.DuckDBPyConnection, table: str, group_name: str) -> None:
    columns = {name for (name, *_) in connection.execute(f'describe "{table}"').fetchall()}
    parameters: list[Any] = [group_name]
    if group_name == EVERY_GROUP:
        where, parameters = "true", []
    elif "group_name" in columns:
        where = "group_name = ?"
    else:
        where = "run_id in (select run_id from stage_rows union all select run_id from run_groups where group_name = ?)"
    connection.execute(f'delete from "{table}" where {where}', parameters)  # noqa: S608 - literals and checked names
