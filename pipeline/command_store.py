"""The MLflow store that a user's commands log to: a run is made before each, and read afterwards as history is."""

from __future__ import annotations

import threading
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from greedylr.registry import without_password
from pipeline.errors import CommandStoreError
from pipeline.logged_losses import LoggedPoint
from pipeline.mlflow_database import create_database, experiment_id
from pipeline.sources.opening import open_source
from pipeline.sources.source import ROLE_TAG

if TYPE_CHECKING:
    from mlflow.tracking import MlflowClient

ROLE = "retraining"

RunStatus = Literal["FINISHED", "FAILED", "KILLED"]


class CommandStore:
    """Runs of one group's command in an MLflow store; threads may share it.

    Parameters
    ----------
    address
        Of a store that MLflow's client can write; a SQLite file that is not there yet is made.
    experiment
        Its name; made if need be.
    artifact_folder
        Where the experiment's artifacts go; a server keeps them itself.

    Raises
    ------
    CommandStoreError
        If the store refuses, or does not answer; so do all methods.
    """

    def __init__(self, address: str, experiment: str, artifact_folder: Path) -> None:
        self._address = address
        self._experiment = experiment
        # MLflow's client and the reader bring a SQLite each. Within one process the two do not see each other's locks:
        # a write of the one beside a read of the other looks like that of a writer that has crashed.
        self._alone = threading.Lock()
        with self._answering():
            from mlflow.tracking import MlflowClient

            create_database(address)
            self._client: MlflowClient = MlflowClient(tracking_uri=address)
            self._experiment_id = experiment_id(self._client, address, experiment, artifact_folder)

    def begin(self, name: str, tags: Mapping[str, str]) -> str:
        """Make a run that is never history, and return its id."""
        with self._answering():
            run = self._client.create_run(self._experiment_id, run_name=name, tags={ROLE_TAG: ROLE, **tags})
        return str(run.info.run_id)

    def environment(self, run_id: str) -> dict[str, str]:
        """Return the variables by which MLflow's client logs into a run."""
        return {
            "MLFLOW_TRACKING_URI": self._address,
            "MLFLOW_EXPERIMENT_NAME": self._experiment,
            "MLFLOW_RUN_ID": run_id,
        }

    def end(self, run_id: str, status: RunStatus) -> None:
        """Set how a run ended, whatever the command has set."""
        with self._answering():
            self._client.set_terminated(run_id, status=status)

    def series(self, run_id: str) -> list[str]:
        """Return the names of the series of a run, in the order of the alphabet."""
        with self._answering():
            # Undoes what a command was killed in the midst of writing, which nobody may who only reads.
            self._client.get_run(run_id)
        with self._alone, open_source(self._address) as source, source.series([run_id]) as names:
            return sorted(set(names.read_all()["key"].to_pylist()))

    def points(self, run_id: str, names: Collection[str]) -> dict[str, list[LoggedPoint]]:
        """Return the points of some series of a run; errors as those of a source."""
        found: dict[str, list[LoggedPoint]] = {}
        with self._alone, open_source(self._address) as source, source.points([run_id], sorted(set(names))) as points:
            for row in points.read_all().to_pylist():
                value = float("nan") if row["is_nan"] else float(row["value"])
                found.setdefault(row["key"], []).append(LoggedPoint(row["step"], row["timestamp"], value))
        return found

    @contextmanager
    def _answering(self) -> Iterator[None]:
        from mlflow.exceptions import MlflowException

        try:
            with self._alone:
                yield
        except (MlflowException, OSError) as error:
            reason = without_password(" ".join(str(error).split()))
            raise CommandStoreError(
                f"the store of commands {without_password(self._address)} is not to be had: {reason}"
            ) from error
