from pathlib import Path

import pytest

from pipeline.errors import SourceUnreadableError
from pipeline.sources.postgresql_store import PostgreSQLStore
from pipeline.sources.sql_address import canonical_uri, libpq_uri, postgresql_parameters, sqlite_path
from pipeline.sources.sqlite_store import SQLiteStore


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("sqlite:////data/ml flow.db", "/data/ml flow.db"),
        ("sqlite+pysqlite:////data/mlflow.db", "/data/mlflow.db"),
        ("sqlite:////data/mlflow.db?timeout=30", "/data/mlflow.db"),
        ("/data/x/../mlflow.db", "/data/mlflow.db"),
    ],
)
def test_an_address_names_a_file(address, expected):
    assert sqlite_path(address) == Path(expected)


def test_all_spellings_of_an_address_have_one_canonical_form(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    store = tmp_path / "mlflow.db"
    (tmp_path / "link.db").symlink_to(store)
    spellings = ["mlflow.db", "./mlflow.db", "sqlite:///mlflow.db", f"sqlite:///{store}", str(store), "link.db"]
    assert {canonical_uri(spelling) for spelling in spellings} == {f"sqlite:///{store}"}
    assert len({SQLiteStore(spelling).source_id for spelling in spellings}) == 1


@pytest.mark.parametrize("address", ["postgresql://host/mlflow", "http://localhost:5000", "databricks://profile"])
def test_other_schemes_are_refused(address):
    with pytest.raises(SourceUnreadableError, match="only MLflow's SQLite stores can be read, got the scheme"):
        SQLiteStore(address)


@pytest.mark.parametrize("address", ["sqlite://", "sqlite:///", " "])
def test_an_address_without_a_file_is_refused(address):
    with pytest.raises(SourceUnreadableError, match="must name a file"):
        SQLiteStore(address)


@pytest.mark.parametrize(
    "address",
    [
        "postgresql://host/mlflow",
        "postgresql://HOST:5432/mlflow",
        "postgres://me@host/mlflow",
        "postgresql+psycopg2://me:secret@host:5432/mlflow",
        "postgresql+psycopg://me:s/e?c:ret@host:5432/mlflow?sslmode=require",
        "postgresql://reader:p%40ss@host/mlflow?password=secret&connect_timeout=3",
        "  postgresql://me@/mlflow?host=host\n",
    ],
)
def test_all_spellings_of_one_database_have_one_canonical_form_without_user_and_password(address):
    assert canonical_uri(address) == "postgresql://host:5432/mlflow"
    assert PostgreSQLStore(address).uri == "postgresql://host:5432/mlflow"


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("postgresql:///mlflow", "postgresql:///mlflow"),
        ("postgresql://me:secret@[::1]/mlflow", "postgresql://[::1]:5432/mlflow"),
        ("postgresql://one,two:5433/mlflow", "postgresql://one:5432,two:5433/mlflow"),
        ("postgresql:///mlflow?host=/run/pg", "postgresql:///mlflow?host=/run/pg&port=5432"),
        (
            "postgresql://me@host/mlflow?options=-c%20search_path%3Dteam",
            "postgresql://host:5432/mlflow?options=-csearch_path%3Dteam",
        ),
        ("postgresql://host/caf%C3%A9", "postgresql://host:5432/caf%C3%A9"),
    ],
)
def test_what_tells_two_databases_apart_stays_in_the_canonical_form(address, expected):
    assert canonical_uri(address) == expected
    assert canonical_uri(expected) == expected


@pytest.mark.parametrize(
    "address", ["mysql://me:secret@host/mlflow", "http://me:se/cr@host:5000", "postgresql://a:secret@"]
)
def test_an_address_that_cannot_be_made_canonical_is_shown_without_its_password(address):
    assert canonical_uri(address) == address.replace("secret", "***").replace("se/cr", "***")


def test_parameters_of_an_address_reach_libpq_as_they_were_meant():
    parameters = postgresql_parameters("postgresql+psycopg2://me:p%40s/s%zz?&=@host:5433/my%20runs?sslmode=require")
    assert parameters == {
        "host": "host",
        "port": "5433",
        "dbname": "my runs",
        "user": "me",
        "password": "p@s/s%zz?&=",
        "sslmode": "require",
    }
    assert libpq_uri(parameters) == (
        "postgresql://?host=host&port=5433&dbname=my%20runs&user=me&password=p%40s%2Fs%25zz%3F%26%3D&sslmode=require"
    )


@pytest.mark.parametrize(
    ("address", "reason"),
    [
        ("mysql://me:secret@host/mlflow", "must begin with postgresql://, got the scheme 'mysql'"),
        ("postgresql://me:sec@ret@host/mlflow", "cannot be taken apart; .*, and %40 for an @ in a password"),
        ("postgresql://me:secret@host", "must name a database"),
        ("postgresql://me:secret%00@host/mlflow", "must not hold %00"),
    ],
)
def test_an_address_that_is_none_of_postgresql_is_refused_without_being_shown(address, reason):
    with pytest.raises(SourceUnreadableError, match=reason) as caught:
        PostgreSQLStore(address)
    assert "secret" not in str(caught.value) and "ret@" not in str(caught.value)


@pytest.mark.parametrize("seconds", [0, -1, float("nan")])
def test_a_time_out_of_nothing_is_refused(seconds):
    with pytest.raises(ValueError, match=r"statement_timeout must be at least 0\.001 seconds, got"):
        PostgreSQLStore("postgresql://host/mlflow", statement_timeout=seconds)
