"""Databases of our own, made through MLflow."""

from pathlib import Path

from greedylr.registry import registered_presets
from pipeline.mlflow_database import create_database


def test_a_database_that_is_not_there_is_made_whole(tmp_path: Path) -> None:
    uri = f"sqlite:///{tmp_path}/data/registry.db"
    create_database(uri)
    create_database(uri)
    assert registered_presets(uri) == []
    assert [path.name for path in (tmp_path / "data").iterdir()] == ["registry.db"]
