"""An MLflow SQLite store, read by ADBC and never written.

The address handed to SQLite is always `file:<quoted path>?mode=ro`. A plain path would create a missing file and
checkpoint a left-over write-ahead log, `immutable=1` would not see the log at all, and MLflow's own client would
migrate the store in place.
"""

import json
from pathlib import Path
from typing import Final
from urllib.parse import quote

from adbc_driver_manager import dbapi
from adbc_driver_sqlite import dbapi as sqlite

from pipeline.errors import SourceUnreadableError
from pipeline.sources.sql_address import sqlite_path
from pipeline.sources.sql_queries import Query
from pipeline.sources.sql_store import SQLStore

_BATCH_ROWS: Final = 65_536
_BUSY_TIMEOUT_MS: Final = 10_000
_COLUMNS: Final = """
select tables.name as table_name, columns.name as column_name
from sqlite_master as tables, pragma_table_info(tables.name) as columns where tables.type in ('table', 'view')
"""


class SQLiteStore(SQLStore):
    """One MLflow SQLite file as a `Source`, open between `with` and its end.

    Each reader sees the file as it is when it begins: a snapshot from the first to the last would keep a training job
    that logs into a file with a rollback journal waiting all that time.

    Parameters
    ----------
    address
        `sqlite:////absolute/path`, `sqlite:///relative/path` or a path.

    Raises
    ------
    SourceUnreadableError
        On entering: the file is missing, empty, no database, no MLflow store, or locked for ten seconds.
    """

    kind = "SQLite"
    meanings = (
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
        (
            "unable to open database file",
            "it has a write-ahead log, and nothing may be written beside it; copy the database with its -wal file into "
            "a folder of your own and ingest that",
        ),
        ("database disk image is malformed", "the file is damaged; `sqlite3 FILE .recover` saves what can be saved"),
    )

    refusals = ("attempt to write a readonly database", "database is locked", "unable to open database file")

    def __init__(self, address: str) -> None:
        super().__init__()
        self._path = sqlite_path(address)

    @property
    def uri(self) -> str:
        """The address in its canonical form."""
        return f"sqlite:///{self._path}"

    def _connect(self) -> dbapi.Connection:
        _check_file(self._path)
        # Without autocommit ADBC opens a transaction that holds SQLite's shared lock until the connection closes:
        # a training job that logs into a store with a rollback journal would then fail with "database is locked".
        return sqlite.connect(f"file:{quote(str(self._path))}?mode=ro", autocommit=True)

    def _columns(self, cursor: dbapi.Cursor) -> set[tuple[str, str]]:
        cursor.execute(f"pragma busy_timeout = {_BUSY_TIMEOUT_MS}")
        cursor.execute(_COLUMNS)
        return {(table, column) for table, column in cursor.fetchall()}

    def _execute(self, cursor: dbapi.Cursor, query: Query) -> None:
        cursor.adbc_statement.set_options(**{"adbc.sqlite.query.batch_rows": str(_BATCH_ROWS)})
        # One JSON text a list instead of one placeholder an element: SQLite bounds the number of placeholders.
        listed = {
            name: f"in (select value from json_each(?{place}))"  # noqa: S608 - a number
            for place, name in enumerate(query.lists, start=1)
        }
        values = tuple(json.dumps(list(elements)) for elements in query.lists.values())
        cursor.execute(query.sql.format(**listed), values or None)


def _check_file(path: Path) -> None:
    try:
        if path.is_dir():
            raise SourceUnreadableError("a folder, not a SQLite file")
        if path.stat().st_size == 0:
            raise SourceUnreadableError("an empty file (0 bytes)")
    except FileNotFoundError:
        raise SourceUnreadableError("no such file; it was not created") from None
    except OSError as error:
        raise SourceUnreadableError(f"cannot be opened: {error.strerror}", stands=True) from error
