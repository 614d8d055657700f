"""What reading a tracking server takes beside `MlflowClient.get_metric_history` in one thread, and what was foretold.

    python benchmarks/tracking_server.py

A real `mlflow server` with its usual four workers over a SQLite store, on this machine, so that it takes most of
the cores. Ratios, because machines differ: theirs over ours for the same points, in turns, the median of the rounds.
The goal is at least 3. The forecast is made before each round, by reading a sample.
"""

from __future__ import annotations

import argparse
import os
import signal
import socket
import sqlite3
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from statistics import median

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
os.environ.update(MLFLOW_DISABLE_TELEMETRY="true", DO_NOT_TRACK="true")

from mlflow.tracking import MlflowClient  # noqa: E402

from pipeline.sources.tracking_server import TrackingServer  # noqa: E402

KEYS = ("train/loss", "val/loss", "lr", "accuracy")
STEPS = 1_000
START = 1_700_000_000_000


def fill(store: Path, runs: int) -> list[str]:
    """Log runs of four series; the points past MLflow, which would take minutes."""
    client = MlflowClient(f"sqlite:///{store}")
    experiment_id = client.create_experiment("benchmark", artifact_location=(store.parent / "artifacts").as_uri())
    run_uuids = [client.create_run(experiment_id).info.run_id for _ in range(runs)]
    rows = [
        (key, 1 / (step + 1), START + 1000 * step, run_uuid, step, 0)
        for run_uuid in run_uuids
        for key in KEYS
        for step in range(STEPS)
    ]
    with closing(sqlite3.connect(store)) as connection, connection:
        insert = "insert into {} (key, value, timestamp, run_uuid, step, is_nan) values (?, ?, ?, ?, ?, ?)"
        connection.executemany(insert.format("metrics"), rows)
        connection.executemany(insert.format("latest_metrics"), rows[STEPS - 1 :: STEPS])
    return run_uuids


@contextmanager
def serving(store: Path) -> Iterator[str]:
    """Run a server on the store; give its address."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    place = ["--backend-store-uri", f"sqlite:///{store}", "--artifacts-destination", str(store.parent / "artifacts")]
    command = [sys.executable, "-m", "mlflow", "server", *place, "--port", str(port)]
    with (store.parent / "server.log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, cwd=store.parent, start_new_session=True)  # noqa: S603
    try:
        deadline = time.monotonic() + 180
        while not is_up(f"http://127.0.0.1:{port}/health"):
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"the server did not start:\n{(store.parent / 'server.log').read_text()}")
            time.sleep(0.5)
        yield f"http://127.0.0.1:{port}"
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(60)


def is_up(address: str) -> bool:
    """Say whether something answers there."""
    try:
        with urllib.request.urlopen(address, timeout=5):  # noqa: S310
            return True
    except OSError:
        return False


def seconds_of_theirs(address: str, run_uuids: Sequence[str]) -> float:
    """Read all histories by MLflow's client, one after the other."""
    client = MlflowClient(address)
    started = time.perf_counter()
    points = sum(len(client.get_metric_history(run_uuid, key)) for run_uuid in run_uuids for key in KEYS)
    seconds = time.perf_counter() - started
    check(points, run_uuids)
    return seconds


def seconds_of_ours(address: str, run_uuids: Sequence[str], threads: int) -> tuple[float, float, float]:
    """Read all histories by ours: the seconds foretold, those it took, and those of this process alone."""
    with TrackingServer(address, threads=threads) as server:
        with server.runs() as reader:
            reader.read_all()
        foretold = server.forecast(run_uuids)
        started, working = time.perf_counter(), time.process_time()
        with server.points(run_uuids) as reader:
            points = reader.read_all().num_rows
        seconds = time.perf_counter() - started
        check(points, run_uuids)
        return foretold.seconds, seconds, time.process_time() - working


def check(points: int, run_uuids: Sequence[str]) -> None:
    """Refuse a figure of histories that are not whole."""
    expected = len(run_uuids) * len(KEYS) * STEPS
    if points != expected:
        raise RuntimeError(f"{points} points were read, {expected} were logged")


def main() -> None:
    """Print one line a round, and the medians."""
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--runs", type=int, default=40)
    arguments.add_argument("--rounds", type=int, default=3)
    arguments.add_argument("--threads", type=int, default=4)
    chosen = arguments.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        store = Path(folder) / "mlflow.db"
        run_uuids = fill(store, chosen.runs)
        points = len(run_uuids) * len(KEYS) * STEPS
        sys.stdout.write(f"{points:,} points, {chosen.threads} threads\n")
        ratios, errors = [], []
        with serving(store) as address:
            for _ in range(chosen.rounds):
                theirs = seconds_of_theirs(address, run_uuids)
                foretold, ours, working = seconds_of_ours(address, run_uuids, chosen.threads)
                ratios.append(theirs / ours)
                errors.append(foretold / ours)
                sys.stdout.write(
                    f"theirs {points / theirs:9,.0f}/s   ours {points / ours:9,.0f}/s   {theirs / ours:.2f} times   "
                    f"foretold {foretold:.1f} s, took {ours:.1f} s, {working:.1f} s of it work of this process\n"
                )
        sys.stdout.write(f"median: {median(ratios):.2f} times; foretold over taken: {median(errors):.2f}\n")


if __name__ == "__main__":
    main()
