"""Runs logged to an MLflow store through MLflow's own client, as a training job would."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from mlflow.tracking import MlflowClient

Progress = Callable[[str, int, int], None]


class Point(NamedTuple):
    """One value of a metric; the time in milliseconds since 1970."""

    key: str
    value: float
    timestamp: int
    step: int


@dataclass(frozen=True, kw_only=True)
class LoggedRun:
    """A run to be logged, its points in the order of time; names are unique within an experiment."""

    name: str
    start_time: int
    params: Mapping[str, object]
    points: tuple[Point, ...]


def log_runs(
    tracking_uri: str, experiment: str, runs: Sequence[LoggedRun], *, artifact_folder: Path, progress: Progress
) -> None:
    """Log the runs that an experiment lacks; those that were cut short are deleted and logged again.

    Parameters
    ----------
    tracking_uri
        Of a store that exists.
    experiment
        Its name; made if need be.
    runs
        Each is looked for by its name.
    artifact_folder
        Of the experiment's artifacts: without a location the client would put them below the current folder.
    progress
        Called with (what, done, total).
    """
    from mlflow.tracking import MlflowClient

    client = MlflowClient(tracking_uri=tracking_uri)
    experiment_id = _experiment(client, experiment, artifact_folder / experiment)
    held = _finished_runs(client, experiment_id)
    for number, run in enumerate(runs, start=1):
        if run.name not in held:
            _log(client, experiment_id, run)
        progress(f"{experiment}: logging to MLflow", number, len(runs))


def _experiment(client: MlflowClient, name: str, artifacts: Path) -> str:
    known = client.get_experiment_by_name(name)
    if known is not None:
        return str(known.experiment_id)
    return str(client.create_experiment(name, artifact_location=artifacts.absolute().as_uri()))


def _finished_runs(client: MlflowClient, experiment_id: str) -> set[str]:
    names = set()
    for run in client.search_runs([experiment_id], max_results=10_000):
        if run.info.status == "FINISHED":
            names.add(str(run.info.run_name))
        else:
            client.delete_run(run.info.run_id)
    return names


def _log(client: MlflowClient, experiment_id: str, run: LoggedRun) -> None:
    from mlflow.entities import Metric, Param

    created = client.create_run(experiment_id, start_time=run.start_time, run_name=run.name)
    client.log_batch(
        created.info.run_id,
        metrics=[Metric(*point) for point in run.points],
        params=[Param(key, str(value)) for key, value in run.params.items()],
    )
    client.set_terminated(created.info.run_id, end_time=run.points[-1].timestamp)
