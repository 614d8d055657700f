import pytest

from pipeline.errors import SourceUnreadableError
from pipeline.sources.file_store import FileStore
from pipeline.sources.opening import canonical_uri, kind_of, open_source, shown
from pipeline.sources.postgresql_store import PostgreSQLStore
from pipeline.sources.sqlite_store import SQLiteStore
from pipeline.sources.tracking_server import TrackingServer


@pytest.mark.parametrize(
    ("address", "kind"),
    [
        ("sqlite:////srv/mlflow.db", SQLiteStore),
        ("sqlite+pysqlite:///mlflow.db", SQLiteStore),
        ("mlflow.db", SQLiteStore),
        ("missing/mlruns", FileStore),
        ("missing/mlflow.sqlite", SQLiteStore),
        ("postgresql://me@host/mlflow", PostgreSQLStore),
        ("postgresql+psycopg2://me:secret@host:5432/mlflow", PostgreSQLStore),
        ("postgres://host/mlflow", PostgreSQLStore),
        ("http://host:5000", TrackingServer),
        ("HTTPS://host/mlflow", TrackingServer),
        ("file:///srv/mlruns", FileStore),
        ("file:/srv/mlruns", FileStore),
        ("{folder}", FileStore),
        (" {folder} ", FileStore),
    ],
)
def test_an_address_names_a_kind_of_source(tmp_path, address, kind):
    assert type(open_source(address.format(folder=tmp_path))) is kind


@pytest.mark.parametrize("address", ["mysql://me:secret@host/mlflow", "mssql+pyodbc://host/x", "databricks://profile"])
def test_another_scheme_is_refused_with_those_that_can_be_read(address):
    scheme = address.partition(":")[0].partition("+")[0]
    with pytest.raises(SourceUnreadableError, match=f"a source is sqlite:.*got the scheme '{scheme}'$"):
        kind_of(address)


@pytest.mark.parametrize(
    ("spellings", "uri"),
    [
        (("{root}/a.db", "sqlite:///{root}/a.db", "a.db", "sqlite:///a.db", "./x/../a.db"), "sqlite:///{root}/a.db"),
        (("{root}", "file://{root}", "file://localhost{root}", ".", "{root}/"), "file://{root}"),
        (
            (
                "postgresql://me:secret@host/mlflow",
                "postgresql+psycopg2://other:pass@HOST:5432/mlflow",
                "postgres://host/mlflow?password=secret",
            ),
            "postgresql://host:5432/mlflow",
        ),
        (("http://me:secret@host:5000/", "http://HOST:5000", "http://host:5000"), "http://host:5000"),
        (("mysql://me:se/c@ret@host/mlflow",), "mysql://me:***@host/mlflow"),
    ],
)
def test_all_spellings_of_an_address_have_one_canonical_form(tmp_path, monkeypatch, spellings, uri):
    monkeypatch.chdir(tmp_path)
    assert {canonical_uri(spelling.format(root=tmp_path)) for spelling in spellings} == {uri.format(root=tmp_path)}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("postgresql://me:secret@host/mlflow", "postgresql://me:***@host/mlflow"),
        ("postgresql://me:se/cr@et@host/mlflow", "postgresql://me:***@host/mlflow"),
        ("got 'postgresql://host/x?user=a&password=secret' for it", "got 'postgresql://host/x?user=a&password=***"),
        ("sqlite:////srv/mlflow.db", "sqlite:////srv/mlflow.db"),
        ("a@b and c:d", "a@b and c:d"),
    ],
)
def test_no_password_is_shown(text, expected):
    assert shown(text).startswith(expected)
    assert "secret" not in shown(text)
