"""MLflow databases of our own: made whole or not at all."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from greedylr.registry import database_file

if TYPE_CHECKING:
    from mlflow.tracking import MlflowClient


def create_database(address: str) -> None:
    """Make the file of a SQLite address an empty MLflow database unless it is there; nothing for other addresses."""
    file = database_file(address)
    if file is None or file.exists():
        return
    from mlflow.tracking import MlflowClient

    file.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".mlflow-", dir=file.parent) as folder:
        draft = Path(folder) / file.name
        # MLflow's migrations take seconds; killed among them they would leave half a database at the real place.
        with _quiet("mlflow.store.db.utils", "alembic"):
            MlflowClient(tracking_uri=f"sqlite:///{draft}").search_experiments(max_results=1)
        if not file.exists():
            draft.replace(file)


def experiment_id(client: MlflowClient, address: str, name: str, artifact_folder: Path) -> str:
    """Return the id of an experiment of ours, which is made if need be; a server keeps its artifacts itself."""
    known = client.get_experiment_by_name(name)
    if known is not None:
        return str(known.experiment_id)
    # Without a location a local client puts files below the current folder; a server knows its own place for them.
    location = None if address.startswith(("http:", "https:")) else artifact_folder.absolute().as_uri()
    return str(client.create_experiment(name, artifact_location=location))


@contextmanager
def _quiet(*names: str) -> Iterator[None]:
    """Hold back what these loggers say of every single migration."""
    levels = {name: logging.getLogger(name).level for name in names}
    try:
        for name in names:
            logging.getLogger(name).setLevel(logging.WARNING)
        yield
    finally:
        for name, level in levels.items():
            logging.getLogger(name).setLevel(level)
