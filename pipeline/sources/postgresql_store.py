"""An MLflow store on PostgreSQL, read by ADBC in one read-only transaction.

A role that may do this and nothing else:

    create role greedylr_reader login password '...';
    grant connect on database mlflow to greedylr_reader;
    grant usage on schema public to greedylr_reader;
    grant select on experiments, runs, params, tags, metrics, latest_metrics to greedylr_reader;
"""

import json
from typing import Final

from adbc_driver_manager import dbapi
from adbc_driver_postgresql import StatementOptions
from adbc_driver_postgresql import dbapi as postgresql

from pipeline.sources.sql_address import canonical_uri, libpq_uri, postgresql_parameters
from pipeline.sources.sql_queries import REQUIRED_COLUMNS, Query
from pipeline.sources.sql_store import SQLStore

DEFAULT_STATEMENT_TIMEOUT: Final = 600.0
"""Seconds that one SELECT may take; ingestion asks for half a million points by one."""

_GRANTED: Final = "experiments, runs, params, tags, metrics, latest_metrics"
_CONNECTION_DEFAULTS: Final = {"connect_timeout": "10", "application_name": "greedylr"}
_BATCH_BYTES: Final = 4 * 2**20

_COLUMNS: Final = """
select cast(relname as text) as table_name, cast(attname as text) as column_name
from pg_catalog.pg_class join pg_catalog.pg_attribute on attrelid = pg_class.oid
where pg_catalog.pg_table_is_visible(pg_class.oid) and relkind in ('r', 'p', 'v', 'm', 'f')
    and attnum > 0 and not attisdropped
"""
_SCHEMAS_WITH: Final = """
select cast(nspname as text) as schema_name
from pg_catalog.pg_class join pg_catalog.pg_namespace on relnamespace = pg_namespace.oid
where relname in ({tables}) and relkind in ('r', 'p', 'v', 'm', 'f') group by nspname having count(*) = {count}
""".format(tables=", ".join(f"'{table}'" for table in REQUIRED_COLUMNS), count=len(REQUIRED_COLUMNS))


class PostgreSQLStore(SQLStore):
    """One MLflow database on PostgreSQL as a `Source`, open between `with` and its end.

    All readers see the database as it is when the first one begins; nobody who writes to it waits for them.

    Parameters
    ----------
    address
        `postgresql://user@host:port/database`, or with a driver as MLflow writes it (`postgresql+psycopg2://`). What
        stands after `?` goes to libpq: `?sslmode=require`, or `?options=-csearch_path%3Dteam` for another schema than
        `public`. A password stands in the address, in PGPASSWORD or in `~/.pgpass`.
    statement_timeout
        Seconds that one SELECT may take, with the time that whoever reads it takes, at least 0.001.

    Raises
    ------
    SourceUnreadableError
        At once: the address is none of PostgreSQL. On entering or reading: no such host, nothing answers, the password
        is refused, no such database, a permission is missing, no MLflow store, a SELECT takes too long.
    """

    kind = "PostgreSQL"
    meanings = (
        ("could not translate host name", "no such host"),
        ("Connection refused", "no server answers there"),
        ("timeout expired", f"no answer in {_CONNECTION_DEFAULTS['connect_timeout']} s; check host, port and firewall"),
        ("password authentication failed", "wrong user or password; see the address, PGPASSWORD or ~/.pgpass"),
        ("no password supplied", "a password is asked for; put it into the address, PGPASSWORD or ~/.pgpass"),
        ("no pg_hba.conf entry", "the server lets this user in from elsewhere only, or with another sslmode"),
        ("permission denied for database", "grant connect on the database to this role"),
        ("permission denied for schema", "grant usage on the schema to this role"),
        ("permission denied for", f"grant select on {_GRANTED} to this role"),
        (
            "canceling statement due to statement timeout",
            "a SELECT took too long; ingest again when the server is less busy, choose fewer runs, or raise the "
            "statement time-out",
        ),
        ("conflict with recovery", "a standby dropped the rows being read; ingest again, or read the primary"),
    )

    refusals = (
        "authentication failed",
        "no password supplied",
        "no pg_hba.conf entry",
        'role "',  # does not exist, or is not permitted to log in
        "permission denied",
        "too many c",  # clients, or connections of a role or a database
        "remaining connection slots",
        "the database system is",  # starting up, shutting down, in recovery
        "canceling statement due to",
    )

    def __init__(self, address: str, *, statement_timeout: float = DEFAULT_STATEMENT_TIMEOUT) -> None:
        if not statement_timeout >= 0.001:
            raise ValueError(
                f"statement_timeout must be at least 0.001 seconds, got {statement_timeout}; give it a few minutes"
            )
        super().__init__()
        self._parameters = postgresql_parameters(address)
        self._uri = canonical_uri(address)
        self._statement_timeout = statement_timeout

    @property
    def uri(self) -> str:
        """The address in its canonical form, without user and password."""
        return self._uri

    def _connect(self) -> dbapi.Connection:
        # Arrow's text is UTF-8, whatever the database's is.
        connection: dbapi.Connection = postgresql.connect(
            libpq_uri({**_CONNECTION_DEFAULTS, **self._parameters, "client_encoding": "UTF8"}), autocommit=False
        )
        try:
            with connection.cursor() as cursor:
                # Not in the address: a pooler between us and the server would refuse it there.
                cursor.execute("set transaction isolation level repeatable read, read only")
                _set(cursor, "statement_timeout", f"{self._statement_timeout * 1000:.0f}")
        except BaseException:
            connection.close()
            raise
        return connection

    def _columns(self, cursor: dbapi.Cursor) -> set[tuple[str, str]]:
        cursor.execute(_COLUMNS)
        return {(table, column) for table, column in cursor.fetchall()}

    def _explain_missing(self, cursor: dbapi.Cursor) -> str | None:
        cursor.execute(_SCHEMAS_WITH)
        schemas = [str(schema) for (schema,) in cursor.fetchall()]
        if not schemas:
            return None
        return (
            f"MLflow's tables are in the schema {' and '.join(sorted(schemas))}, which this role does not search or "
            f"may not use; add ?options=-csearch_path%3D{schemas[0]} to the address, and grant usage on it to the role"
        )

    def _execute(self, cursor: dbapi.Cursor, query: Query) -> None:
        cursor.adbc_statement.set_options(**{StatementOptions.BATCH_SIZE_HINT_BYTES.value: str(_BATCH_BYTES)})
        # The driver streams a statement without parameters (by COPY) and holds the whole result of any other in
        # memory. So the lists are settings of this transaction, as long as they may be and with nothing to quote.
        for name, elements in query.lists.items():
            _set(cursor, f"greedylr.{name}", json.dumps(list(elements)))
        # An array, not a subselect: the planner takes any subselect for a hundred rows, worth reading the whole table.
        listed = {
            name: f"= any(array(select json_array_elements_text(cast(current_setting('greedylr.{name}') as json))))"
            for name in query.lists
        }
        cursor.execute(query.sql.format(**listed))


def _set(cursor: dbapi.Cursor, setting: str, value: str) -> None:
    cursor.execute("select set_config($1, $2, true)", (setting, value))
    cursor.fetchall()
