"""Presets from a real MLflow server that proxies its artifacts, by a client without a database's packages."""

import json
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

import greedylr
from greedylr import load_preset

pytestmark = pytest.mark.integration

ROOT = Path(greedylr.__file__).parent.parent
ADDRESS = "models:/greedylr-mnist@champion"

# What mlflow-skinny does not bring along; a client of a server must do without.
CLIENT = """
import json, sys, warnings
for absent in ("sqlalchemy", "alembic", "flask", "pandas", "numpy", "sklearn", "matplotlib", "pyarrow"):
    sys.modules[absent] = None
from greedylr import locate_preset
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always", UserWarning)
    found = locate_preset(sys.argv[1])
said = [str(warning.message) for warning in caught if "taking the copy" in str(warning.message)]
print(json.dumps([found.preset.name, found.version, found.content_hash, found.cached_at is not None, said]))
"""


@pytest.fixture
def server(mlflow_store: Path, tmp_path: Path) -> Iterator[tuple[str, "subprocess.Popen[bytes]"]]:
    """A server of its own: its address and process."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    place = ["--backend-store-uri", f"sqlite:///{mlflow_store}", "--artifacts-destination", str(tmp_path / "artifacts")]
    command = [sys.executable, "-m", "mlflow", "server", *place, "--port", str(port), "--workers", "1"]
    with (tmp_path / "server.log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, cwd=tmp_path, start_new_session=True)
    address = f"http://127.0.0.1:{port}"
    try:
        wait_for(address)
        yield address, process
    finally:
        stop(process)


def wait_for(address: str) -> None:
    deadline = time.monotonic() + 120
    while True:
        try:
            with urllib.request.urlopen(f"{address}/health", timeout=5):
                return
        except (urllib.error.URLError, OSError):
            assert time.monotonic() < deadline, "the server did not start"
            time.sleep(0.5)


def stop(process: "subprocess.Popen[bytes]") -> None:
    if process.poll() is None:
        os.killpg(process.pid, 15)
        process.wait(30)


def located(registry: str, cache: Path) -> list[object]:
    environment = {**os.environ, "MLFLOW_TRACKING_URI": registry, "GREEDYLR_CACHE": str(cache)}
    environment.pop("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", None)
    ended = subprocess.run(
        [sys.executable, "-c", CLIENT, ADDRESS], cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    assert (ended.returncode, ended.stderr) == (0, "")
    found = json.loads(ended.stdout)
    assert isinstance(found, list)
    return found


def test_a_preset_of_a_server_is_fetched_without_a_database_and_outlives_the_server(
    server: tuple[str, "subprocess.Popen[bytes]"], tmp_path: Path
) -> None:
    from mlflow.tracking import MlflowClient

    address, process = server
    client = MlflowClient(address, address)
    run_id = client.create_run(client.create_experiment("presets")).info.run_id
    preset = load_preset("core")
    client.log_text(run_id, preset.to_json(), "preset/preset.json")
    client.create_registered_model("greedylr-mnist")
    client.create_model_version("greedylr-mnist", f"runs:/{run_id}/preset", run_id=run_id)
    client.set_registered_model_alias("greedylr-mnist", "champion", "1")
    cache = tmp_path / "cache"
    assert located(address, cache) == ["core", "1", preset.content_hash, False, []]
    stop(process)
    *same, cached, said = located(address, cache)
    assert (same, cached) == (["core", "1", preset.content_hash], True)
    assert isinstance(said, list) and len(said) == 1
    assert said[0].startswith(f"{ADDRESS}: the registry {address} is not to be had: ")
    assert said[0].endswith(f", version 1, content {preset.content_hash}")
