"""A real PostgreSQL server into which a real MLflow server writes; see also the contract of all sources."""

from pathlib import Path

import duckdb
import psycopg2
import pytest
from mlflow.entities import Metric
from mlflow.tracking import MlflowClient

from pipeline.errors import SourceUnreadableError
from pipeline.ingestion import ingest
from pipeline.sources import postgresql_store
from pipeline.sources.postgresql_store import PostgreSQLStore
from pipeline.sources.source import RUN_COLUMNS
from pipeline.warehouse import Warehouse

pytestmark = pytest.mark.integration

PASSWORD = "c0rrect hörse/@?%41"
START = 1_700_000_000_000

# A role of its own for each test that needs one; the statements are those that the module documents.
DOCUMENTED = [line.strip() for line in postgresql_store.__doc__.splitlines() if line.strip().endswith(";")]

# Three hundred thousand points of one run, made while they are read; `failing` divides by zero at the last but one.
LARGE_VIEWS = """
create schema large;
create view large.experiments as select * from public.experiments;
create view large.runs as select * from public.runs;
create view large.params as select * from public.params;
create view large.tags as select * from public.tags;
create view large.metrics as select cast('many' as varchar) as run_uuid, cast('loss' as varchar) as key,
    cast(step as bigint) as step, cast(0 as bigint) as timestamp, cast(1.0 as double precision) as value,
    false as is_nan from generate_series(1, 300000) as steps (step);
create schema failing;
create view failing.experiments as select * from public.experiments;
create view failing.runs as select * from public.runs;
create view failing.params as select * from public.params;
create view failing.tags as select * from public.tags;
create view failing.metrics as select run_uuid, key, step, timestamp, value / (299999 - step) as value, is_nan
    from large.metrics;
"""


@pytest.fixture(scope="module")
def run_uuid(mlflow_on_postgresql):
    client = MlflowClient(tracking_uri=mlflow_on_postgresql.address)
    experiment_id = client.create_experiment("grants", artifact_location="unused:/")
    run_uuid = client.create_run(experiment_id, run_name="one", start_time=START).info.run_id
    client.log_batch(run_uuid, metrics=[Metric("loss", 1.0, START, 0)])
    client.log_param(run_uuid, "lr", "0.1")
    return run_uuid


@pytest.fixture
def large_views(postgresql_server, run_uuid):
    postgresql_server.execute(LARGE_VIEWS, database="mlflow")
    yield
    postgresql_server.execute("drop schema large, failing cascade", database="mlflow")


@pytest.fixture
def reader(postgresql_server, run_uuid):
    """A role with exactly the documented grants, and its address without a password."""
    # PostgreSQL lets everybody connect to a database unless told otherwise.
    postgresql_server.execute("revoke connect on database mlflow from public", database="mlflow")
    postgresql_server.execute(*(line.replace("'...'", f"'{PASSWORD}'") for line in DOCUMENTED), database="mlflow")
    yield postgresql_server.address("mlflow", "greedylr_reader")
    postgresql_server.execute(
        "drop owned by greedylr_reader",
        "drop role greedylr_reader",
        "grant connect on database mlflow to public",
        database="mlflow",
    )


def rows(opened):
    with opened as batches:
        return [tuple(row.values()) for row in batches.read_all().to_pylist()]


def reason(address, read=lambda store: rows(store.runs()), **options):
    """Why a store cannot be read; nothing on the way there may show the password."""
    with pytest.raises(SourceUnreadableError) as caught, PostgreSQLStore(address, **options) as store:
        read(store)
    shown, error = [], caught.value
    while error is not None:
        shown.append(str(error))
        error = error.__cause__ or error.__context__
    for secret in (PASSWORD, "hörse", "%3F%2541", "wr0ng"):
        assert not any(secret in text for text in shown), shown
    assert "\n" not in shown[0]
    return shown[0]


def test_the_documented_statements_are_a_role_and_three_grants_and_the_readme_has_them():
    readme = (Path(__file__).parents[2] / "README.md").read_text()
    assert [line for line in DOCUMENTED if line not in readme] == []
    assert [line.split()[:2] for line in DOCUMENTED] == [
        ["create", "role"],
        ["grant", "connect"],
        ["grant", "usage"],
        ["grant", "select"],
    ]


def test_a_role_with_the_documented_grants_reads_everything(reader, run_uuid, monkeypatch):
    monkeypatch.setenv("PGPASSWORD", PASSWORD)
    with PostgreSQLStore(reader.replace("postgresql://", "postgresql+psycopg2://")) as store:
        [run] = [run for run in rows(store.runs()) if run[0] == run_uuid]
        assert dict(zip(RUN_COLUMNS, run, strict=True))["watermark"] == "1"
        assert rows(store.params([run_uuid])) == [(run_uuid, "lr", "0.1")]
        assert (run_uuid, "mlflow.runName", "one") in rows(store.tags([run_uuid]))
        assert rows(store.series([run_uuid])) == [(run_uuid, "loss")]
        assert rows(store.points([run_uuid])) == [(run_uuid, "loss", 0, START, 1.0, 0)]


def test_a_password_is_taken_from_the_address_and_from_the_file_of_passwords(reader, tmp_path, monkeypatch):
    written = "c0rrect%20h%C3%B6rse%2F%40%3F%2541"
    with PostgreSQLStore(reader.replace("greedylr_reader@", f"greedylr_reader:{written}@")) as store:
        assert store.uri == reader.replace("greedylr_reader@", "")
    (tmp_path / "passwords").write_text(f"*:*:mlflow:greedylr_reader:{PASSWORD}\n")
    (tmp_path / "passwords").chmod(0o600)
    monkeypatch.setenv("PGPASSFILE", str(tmp_path / "passwords"))
    with PostgreSQLStore(reader) as store:
        assert rows(store.runs())


@pytest.mark.parametrize(
    ("statement", "read", "expected"),
    [
        (
            "revoke select on metrics from greedylr_reader",
            lambda store: rows(store.runs()),
            "grant select on experiments, runs, params, tags, metrics, latest_metrics to this role"
            " (permission denied for table metrics)",
        ),
        (
            "revoke select on latest_metrics from greedylr_reader",
            lambda store: rows(store.series(["a"])),
            "grant select on experiments, runs, params, tags, metrics, latest_metrics to this role"
            " (permission denied for table latest_metrics)",
        ),
        (
            "revoke connect on database mlflow from greedylr_reader",
            lambda store: None,
            'grant connect on the database to this role (permission denied for database "mlflow")',
        ),
    ],
)
def test_a_missing_grant_is_named(reader, postgresql_server, monkeypatch, statement, read, expected):
    monkeypatch.setenv("PGPASSWORD", PASSWORD)
    postgresql_server.execute(statement, database="mlflow")
    assert reason(reader, read) == expected


def test_tables_in_a_schema_that_is_not_searched_or_not_granted_are_found(postgresql_server, mlflow_on_postgresql):
    assert reason(f"{mlflow_on_postgresql.backend}?options=-csearch_path%3Delsewhere") == (
        "MLflow's tables are in the schema public, which this role does not search or may not use; add "
        "?options=-csearch_path%3Dpublic to the address, and grant usage on it to the role"
    )


def test_why_a_server_lets_nobody_in_is_said_in_one_line(reader, postgresql_server, monkeypatch):
    port = str(postgresql_server.port)
    assert reason(reader.replace("greedylr_reader@", "greedylr_reader:wr0ng@")) == (
        "wrong user or password; see the address, PGPASSWORD or ~/.pgpass (password authentication failed for user "
        '"greedylr_reader")'
    )
    assert reason(reader).startswith("a password is asked for; put it into the address, PGPASSWORD or ~/.pgpass (")
    monkeypatch.setenv("PGPASSWORD", PASSWORD)
    assert reason(reader.replace("127.0.0.1", "nowhere.invalid")).startswith(
        'no such host (could not translate host name "nowhere.invalid" to address'
    )
    refused = reason(reader.replace(port, "1"))
    assert refused.startswith("no server answers there (connection to server") and "Connection refused" in refused
    assert reason(postgresql_server.address("nothing")) == ('OperationalError: database "nothing" does not exist')
    assert reason(f"{reader}?sslmood=1") == 'OperationalError: invalid URI query parameter: "sslmood"'


def test_a_database_without_mlflows_tables_is_no_store(postgresql_server):
    assert reason(postgresql_server.address()) == (
        "a PostgreSQL database but no MLflow store: it has no table experiments, metrics, params, runs, tags"
    )


def test_nothing_can_be_written_not_even_by_a_superuser(mlflow_on_postgresql):
    with (
        PostgreSQLStore(mlflow_on_postgresql.backend) as store,
        store._connection.cursor() as cursor,
        pytest.raises(Exception, match="cannot execute DELETE in a read-only transaction"),
    ):
        cursor.execute("delete from metrics")


def test_all_readers_see_the_store_as_it_was_while_training_goes_on(mlflow_on_postgresql):
    client = MlflowClient(tracking_uri=mlflow_on_postgresql.address)
    growing = client.create_run("0", run_name="growing").info.run_id
    client.log_batch(growing, metrics=[Metric("loss", 1.0, START, 0)])
    with PostgreSQLStore(mlflow_on_postgresql.backend) as store:
        before = {run[0]: run[-1] for run in rows(store.runs())}
        client.log_batch(growing, metrics=[Metric("loss", 0.5, START + 1, 1), Metric("accuracy", 0.5, START + 1, 1)])
        client.log_param(growing, "lr", "0.1")
        assert before[growing] == "1"
        assert rows(store.points([growing])) == [(growing, "loss", 0, START, 1.0, 0)]
        assert rows(store.series([growing])) == [(growing, "loss")]
        assert rows(store.params([growing])) == []
    with PostgreSQLStore(mlflow_on_postgresql.backend) as store:
        assert len(rows(store.points([growing]))) == 3


def test_a_select_that_takes_too_long_ends_with_a_remedy(mlflow_on_postgresql, run_uuid):
    holder = psycopg2.connect(mlflow_on_postgresql.backend)
    with holder.cursor() as cursor:
        cursor.execute("lock table metrics in access exclusive mode")
        text = reason(mlflow_on_postgresql.backend, statement_timeout=0.3)
    holder.close()
    assert text == (
        "a SELECT took too long; ingest again when the server is less busy, choose fewer runs, or raise the statement "
        "time-out (canceling statement due to statement timeout)"
    )


def test_points_come_in_batches_and_a_reader_may_stop_half_way(mlflow_on_postgresql, large_views):
    address = f"{mlflow_on_postgresql.backend}?options=-csearch_path%3Dlarge"
    with PostgreSQLStore(address) as store:
        assert store.uri == f"{PostgreSQLStore(mlflow_on_postgresql.backend).uri}?options=-csearch_path%3Dlarge"
        with store.points(["many"]) as batches:
            counts = [batch.num_rows for batch in batches]
        with store.points(["many"]) as batches:
            assert batches.read_next_batch().num_rows == counts[0]
        assert rows(store.series(["many"])) == [("many", "loss")]
    assert sum(counts) == 300_000
    assert max(counts) < 100_000


def test_a_failure_half_way_keeps_its_reason_though_another_database_reads(mlflow_on_postgresql, large_views):
    def copy(store):
        with store.points(["many"]) as batches, duckdb.connect() as connection:
            connection.register("batches", batches)
            connection.execute("create table points as from batches")

    address = f"{mlflow_on_postgresql.backend}?options=-csearch_path%3Dfailing"
    assert reason(address, copy) == "OSError: division by zero"


def test_a_copy_whose_original_asks_for_a_password_is_a_source_of_its_own(postgresql_server, tmp_path, monkeypatch):
    monkeypatch.delenv("PGPASSWORD", raising=False)
    monkeypatch.setenv("PGPASSFILE", str(tmp_path / "none"))
    postgresql_server.execute("create role copied login password 'a secret'", "create database original")
    postgresql_server.execute(
        "create table experiments (experiment_id integer, name text)",
        "create table runs (run_uuid text, name text, status text, lifecycle_stage text, start_time bigint,"
        " end_time bigint, experiment_id integer)",
        "create table params (run_uuid text, key text, value text)",
        "create table tags (run_uuid text, key text, value text)",
        "create table metrics (run_uuid text, key text, step bigint, timestamp bigint, value float, is_nan boolean)",
        "insert into experiments values (1, 'mnist')",
        "insert into runs values ('abc', 'first', 'FINISHED', 'active', 5, 6, 1)",
        "insert into metrics values ('abc', 'loss', 0, 5, 2.5, false)",
        "grant select on all tables in schema public to copied",
        database="original",
    )
    postgresql_server.execute("create database the_copy template original")
    original, copy = (postgresql_server.address(name, "copied:a%20secret") for name in ("original", "the_copy"))
    warehouse = Warehouse(tmp_path / "warehouse.duckdb")
    assert ingest(warehouse, [original]).sources[0].runs_new == 1
    [source] = ingest(warehouse, [copy]).sources
    assert (source.runs_new, source.reason) == (1, None)
