"""Fixtures that more than one folder of tests needs: real MLflow SQLite stores, made quickly, and the digits."""

import os
import shutil
import tarfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

FIRST_TIMESTAMP = 1_700_000_000_000

Points = Sequence[float] | Sequence[tuple[int, float]] | Sequence[tuple[int, int, float]]
"""Values at steps 0, 1, 2 ..., or (step, value), or (step, timestamp, value); else one second lies between points."""


def pytest_configure(config: pytest.Config) -> None:
    # Before anything imports MLflow: a closed network answers none of these.
    os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
    os.environ["DO_NOT_TRACK"] = "true"
    os.environ["PREFECT_SERVER_ANALYTICS_ENABLED"] = "false"
    # Threads that wait for a core that another process has make small programs many times slower.
    os.environ.setdefault("OMP_NUM_THREADS", "1")


@pytest.fixture(scope="session", autouse=True)
def preset_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache of presets that is not the user's."""
    folder = tmp_path_factory.mktemp("preset_cache")
    os.environ["GREEDYLR_CACHE"] = str(folder)
    return folder


@pytest.fixture(scope="session")
def digits_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The prepared digits of the reference workloads."""
    from pipeline.datasets import prepare

    return prepare("mnist_digits", tmp_path_factory.mktemp("data_sets"))


@pytest.fixture(scope="session")
def digits(digits_file: Path) -> Mapping[str, Any]:
    """Their arrays."""
    import numpy as np

    with np.load(digits_file, allow_pickle=False) as file:
        return dict(file)


BESIDE_THE_CHECKOUT = Path(__file__).parents[1] / "../shared/histories/public-mlflow-histories.tar.gz"


def unpack_public_histories(folder: Path, wanted: Callable[[str], bool]) -> None:
    """Unpack what is wanted of the archive of public MLflow stores; the test is skipped where the archive is absent."""
    archive = Path(os.environ.get("GREEDYLR_PUBLIC_HISTORIES", BESIDE_THE_CHECKOUT)).resolve()
    if not archive.is_file():
        pytest.skip(f"the archive of public MLflow stores is absent: {archive}; GREEDYLR_PUBLIC_HISTORIES names it")
    with tarfile.open(archive) as tar:
        tar.extractall(folder, members=[member for member in tar.getmembers() if wanted(member.name)], filter="data")


@pytest.fixture(scope="session")
def public_stores(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Path]:
    """Every SQLite file of the archive of public MLflow stores, by its path inside it; skips where it is absent."""
    folder = tmp_path_factory.mktemp("public_stores")
    unpack_public_histories(folder, lambda name: name.endswith(".db"))
    return {str(path.relative_to(folder)): path for path in sorted(folder.rglob("*.db"))}


@pytest.fixture(scope="session")
def public_histories(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The whole archive of public MLflow stores, unpacked: one folder a repository; skips where it is absent."""
    folder = tmp_path_factory.mktemp("public_histories")
    unpack_public_histories(folder, lambda name: True)
    return folder


@pytest.fixture(scope="session")
def mlflow_store_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty MLflow SQLite store. Its migrations take nine seconds, so everyone copies this one."""
    from mlflow.tracking import MlflowClient

    path = tmp_path_factory.mktemp("mlflow_template") / "mlflow.db"
    MlflowClient(tracking_uri=f"sqlite:///{path}").search_experiments()
    return path


@pytest.fixture
def mlflow_store(mlflow_store_template: Path, tmp_path: Path) -> Path:
    """A MLflow SQLite store of one's own; its address is f"sqlite:///{mlflow_store}"."""
    path = tmp_path / "mlflow_store" / "mlflow.db"
    path.parent.mkdir()
    shutil.copyfile(mlflow_store_template, path)
    return path


@pytest.fixture
def log_run(mlflow_store: Path, tmp_path: Path) -> Callable[..., str]:
    """A function that logs one run through MLflow's client as a training job would, and returns its run_uuid.

    log_run("mnist", params={"lr": 0.1}, metrics={"loss": [2.0, 1.0]}, tags={}, status="FINISHED", store=PATH)
    """

    def log(
        experiment: str = "mnist",
        *,
        params: Mapping[str, Any] | None = None,
        metrics: Mapping[str, Points] | None = None,
        tags: Mapping[str, str] | None = None,
        run_name: str | None = None,
        status: str = "FINISHED",
        store: Path | None = None,
    ) -> str:
        from mlflow.entities import Param, RunTag
        from mlflow.tracking import MlflowClient

        client = MlflowClient(tracking_uri=f"sqlite:///{store or mlflow_store}")
        known = client.get_experiment_by_name(experiment)
        experiment_id = (
            known.experiment_id
            if known
            else client.create_experiment(experiment, artifact_location=(tmp_path / "artifacts").as_uri())
        )
        run_uuid = client.create_run(experiment_id, run_name=run_name, start_time=FIRST_TIMESTAMP).info.run_id
        entities = metric_entities(metrics or {})
        # A batch holds at most 1000 metrics, and at most 100 params and tags.
        for start in range(0, max(len(entities), 1), 1000):
            client.log_batch(
                run_uuid,
                metrics=entities[start : start + 1000],
                params=[Param(key, str(value)) for key, value in (params or {}).items()] if start == 0 else [],
                tags=[RunTag(key, value) for key, value in (tags or {}).items()] if start == 0 else [],
            )
        if status != "RUNNING":
            client.set_terminated(run_uuid, status=status, end_time=FIRST_TIMESTAMP + 3_600_000)
        return str(run_uuid)

    return log


def metric_entities(metrics: Mapping[str, Points]) -> list[Any]:
    from mlflow.entities import Metric

    entities = []
    for key, points in metrics.items():
        for index, point in enumerate(points):
            match point:
                case (step, timestamp, value):
                    entities.append(Metric(key, value, timestamp, step))
                case (step, value):
                    entities.append(Metric(key, value, FIRST_TIMESTAMP + 1000 * index, step))
                case value:
                    entities.append(Metric(key, float(value), FIRST_TIMESTAMP + 1000 * index, index))
    return entities
