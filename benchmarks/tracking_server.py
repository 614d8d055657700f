"""What reading a tracking server takes beside `MlflowClient.get_metric_history` in one thread, and what was foretold.

    python benchmarks/tracking_server.py

A real `mlflow server` with its usual four workers over a SQLite store, on this machine, so that it takes most of
the cores. Ratios, because machines differ: theirs over ours for the same points, in turns, the median of the rounds.
The goal is at least 3. The time is foretold before each round, as `greedylr ingest --dry-run` does; it counts the
list of the runs and the writing too.

On Linux also the time of the processor that a point costs the server and the client. Their client waits while the
server works, so that theirs takes the sum of both; ours at best the sum divided by the cores.
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
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
os.environ.update(MLFLOW_DISABLE_TELEMETRY="true", DO_NOT_TRACK="true")
# Eight more processes that have nothing to do with tracking.
os.environ["MLFLOW_SERVER_ENABLE_JOB_EXECUTION"] = "false"

from mlflow.tracking import MlflowClient  # noqa: E402

from pipeline.ingestion_plan import plan_ingestion  # noqa: E402
from pipeline.sources.tracking_server import TrackingServer  # noqa: E402
from pipeline.warehouse import Warehouse  # noqa: E402

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
def serving(store: Path) -> Iterator[tuple[str, int]]:
    """Run a server on the store; give its address and the id of its session of processes."""
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
        yield f"http://127.0.0.1:{port}", process.pid
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


@dataclass(frozen=True)
class Taken:
    """Seconds: by the clock, of the processor in the server and in this process."""

    clock: float
    server: float
    client: float

    def __str__(self) -> str:
        """Say it in a few words."""
        return f"{self.clock:.1f} s (processor: server {self.server:.1f} s, client {self.client:.1f} s)"


def processor_seconds(session: int) -> float:
    """Sum what the processes of a session have had of the processor; 0 where there is no /proc."""
    total = 0
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue  # it has ended
        if int(fields[3]) == session:
            total += int(fields[11]) + int(fields[12])
    return total / os.sysconf("SC_CLK_TCK")


def taken(read: Callable[[], int], session: int, expected: int) -> Taken:
    """Time a reader, and refuse the figure if its histories are not whole."""
    clock, server, client = time.perf_counter(), processor_seconds(session), time.process_time()
    points = read()
    result = Taken(time.perf_counter() - clock, processor_seconds(session) - server, time.process_time() - client)
    if points != expected:
        raise RuntimeError(f"{points} points were read, {expected} were logged")
    return result


def read_by_theirs(address: str, run_uuids: Sequence[str]) -> int:
    """Read all histories by MLflow's client, one after the other."""
    client = MlflowClient(address)
    return sum(len(client.get_metric_history(run_uuid, key)) for run_uuid in run_uuids for key in KEYS)


def read_by_ours(server: TrackingServer, run_uuids: Sequence[str]) -> int:
    """Read all histories by a source."""
    with server.points(run_uuids) as reader:
        return int(reader.read_all().num_rows)


def main() -> None:
    """Print three lines a round, and the medians."""
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--runs", type=int, default=40)
    arguments.add_argument("--rounds", type=int, default=3)
    arguments.add_argument("--threads", type=int, default=4)
    chosen = arguments.parse_args()
    ratios, errors = [], []
    with tempfile.TemporaryDirectory() as folder:
        store = Path(folder) / "mlflow.db"
        run_uuids = fill(store, chosen.runs)
        points = len(run_uuids) * len(KEYS) * STEPS
        sys.stdout.write(f"{points:,} points, {chosen.threads} threads, {os.cpu_count()} cores\n")
        with serving(store) as (address, session), TrackingServer(address, threads=chosen.threads) as server:
            with server.runs() as reader:
                reader.read_all()
            for _ in range(chosen.rounds):
                theirs = taken(partial(read_by_theirs, address, run_uuids), session, points)
                [foretold] = plan_ingestion(Warehouse(Path(folder) / "none.duckdb"), [address])
                ours = taken(partial(read_by_ours, server, run_uuids), session, points)
                ratios.append(theirs.clock / ours.clock)
                errors.append(foretold.seconds / ours.clock)
                sys.stdout.write(f"theirs {theirs}\nours   {ours}, foretold {foretold.seconds:.1f} s\n")
                sys.stdout.write(f"       {ratios[-1]:.2f} times, {points / ours.clock:,.0f} points/s\n")
    sys.stdout.write(f"median: {median(ratios):.2f} times; foretold over taken: {median(errors):.2f}\n")


if __name__ == "__main__":
    main()
