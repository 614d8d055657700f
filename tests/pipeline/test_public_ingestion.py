"""All public stores through the whole ingestion, against a plain reader."""

import pytest
from test_public_file_stores import POINTERS, READABLE

from pipeline.ingestion import ingest
from pipeline.warehouse import Warehouse
from tests.plain_reader import read_plainly

pytestmark = pytest.mark.public_histories

WITHOUT_RUNS = "ArakawaYuito__AD-Autoencoder/mlruns.db"
EMPTY = "KJR020__mlflow-pytorch-lightning-hydra-mlflow-poetry/db/mlruns.db"
QUERIES = {
    "runs": "select run_uuid, experiment_id, experiment_name, coalesce(run_name, ''), status, lifecycle_stage, "
    "start_time, end_time from runs where source_id = ?",
    "params": "select run_uuid, key, value from params join runs using (run_id) where source_id = ?",
    "tags": "select run_uuid, key, value from tags join runs using (run_id) where source_id = ?",
    "points": "select run_uuid, key, step, timestamp, value from metrics join runs using (run_id) where source_id = ?",
}


@pytest.fixture(scope="module")
def stores(public_stores, public_histories):
    """Every store of the archive by its path inside it."""
    return {**public_stores, **{store: public_histories / store for store in [*READABLE, POINTERS]}}


@pytest.fixture(scope="module")
def ingested(stores, tmp_path_factory):
    """The warehouse after one ingest call over all stores, and what was reported of each."""
    warehouse = Warehouse(tmp_path_factory.mktemp("warehouse") / "warehouse.duckdb")
    report = ingest(warehouse, [str(path) for path in stores.values()])
    return warehouse, dict(zip(stores, report.sources, strict=True))


def test_every_store_is_read_or_its_reason_is_given(ingested):
    _, sources = ingested
    unreadable = {name: source.reason for name, source in sources.items() if source.status != "read"}
    assert set(unreadable) == {EMPTY, POINTERS}
    assert "an empty file (0 bytes)" in unreadable[EMPTY]
    assert "a pointer of git LFS, not the file; fetch it with `git lfs pull`" in unreadable[POINTERS]
    assert sources[WITHOUT_RUNS].reason == "holds no runs"
    assert sum(source.runs_new for source in sources.values()) == 370


def test_runs_params_series_and_points_are_those_that_a_plain_reader_finds(ingested, stores):
    warehouse, sources = ingested
    for name, path in stores.items():
        if sources[name].status != "read":
            continue
        plain = read_plainly(path)
        found = {
            table: {tuple(row) for row in warehouse.frame(query, [sources[name].source_id]).rows()}
            for table, query in QUERIES.items()
        }
        assert found["runs"] == {(run_uuid, *run) for run_uuid, run in plain.runs.items()}, name
        assert found["params"] == set(plain.params), name
        assert found["tags"] == set(plain.tags), name
        assert {point[:2] for point in found["points"]} == plain.series, name
        assert {(*point[:4], repr(point[4])) for point in found["points"]} == set(plain.points), name


def test_a_second_ingest_copies_nothing(ingested, stores):
    warehouse, _ = ingested
    report = ingest(warehouse, [str(path) for path in stores.values()])
    assert sum(source.runs_unchanged for source in report.sources) == 370
    assert sum(source.runs_new + source.runs_updated + source.points for source in report.sources) == 0
