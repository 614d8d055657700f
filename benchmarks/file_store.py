"""Points a second out of a file store: ours against MLflow's own client.

    python benchmarks/file_store.py --runs 100 --series 4 --points 1000

Writes a store as MLflow does, reads all points of all runs by both, and checks that they are the same. MLflow is told
the names of the runs and series; ours has to find them.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

os.environ["MLFLOW_ALLOW_FILE_STORE"] = "true"
os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import numpy as np  # noqa: E402
import pyarrow as pa  # noqa: E402

from pipeline.sources.file_store import FileStore  # noqa: E402

FIRST_TIMESTAMP = 1_700_000_000_000


def write_store(root: Path, runs: int, series: int, points: int) -> None:
    """Write a store of one experiment, losses that fall with noise, ten params and five tags a run."""
    experiment = root / "1"
    experiment.mkdir(parents=True)
    (experiment / "meta.yaml").write_text(
        "artifact_location: file:///x\nexperiment_id: '1'\nlifecycle_stage: active\nname: x\n"
    )
    generator = np.random.default_rng(0)
    for number in range(runs):
        run_uuid = f"{number:032x}"
        folder = experiment / run_uuid
        for part, count in (("params", 10), ("tags", 5), ("artifacts", 0), ("metrics", 0)):
            (folder / part).mkdir(parents=True)
            for position in range(count):
                (folder / part / f"{part}_{position}").write_text(str(position))
        (folder / "meta.yaml").write_text(
            f"artifact_uri: file://{folder}/artifacts\nend_time: {FIRST_TIMESTAMP + 1000 * points}\n"
            f"entry_point_name: ''\nexperiment_id: '1'\nlifecycle_stage: active\nrun_id: '{run_uuid}'\n"
            f"run_name: run-{number}\nrun_uuid: '{run_uuid}'\nsource_name: ''\nsource_type: 4\nsource_version: ''\n"
            f"start_time: {FIRST_TIMESTAMP}\nstatus: 3\ntags: []\nuser_id: x\n"
        )
        for position in range(series):
            losses = (1 / np.sqrt(1 + np.arange(points)) + 0.1 * generator.random(points)).tolist()
            lines = [f"{FIRST_TIMESTAMP + 1000 * step} {loss} {step}\n" for step, loss in enumerate(losses)]
            (folder / "metrics" / f"loss_{position}").write_text("".join(lines))


def read_by_mlflow(root: Path, run_uuids: list[str], series: int) -> list[float]:
    """Return the values of all points, series after series."""
    from mlflow.tracking import MlflowClient

    client = MlflowClient(tracking_uri=root.as_uri())
    return [
        metric.value
        for run_uuid in run_uuids
        for position in range(series)
        for metric in client.get_metric_history(run_uuid, f"loss_{position}")
    ]


def read_by_us(root: Path) -> pa.Table:
    """Return all points of all runs, which have to be found first."""
    with FileStore(str(root)) as store:
        with store.runs() as reader:
            run_uuids = reader.read_all()["run_uuid"].to_pylist()
        with store.points(run_uuids) as reader:
            return reader.read_all()


@contextmanager
def delayed_calls(seconds: float) -> Iterator[None]:
    """Let every opening of a file and every listing of a folder wait, as a network drive does."""
    opened, listed = os.open, os.scandir

    def slow_open(*arguments, **named):  # type: ignore[no-untyped-def]
        time.sleep(seconds)
        return opened(*arguments, **named)

    def slow_listing(*arguments, **named):  # type: ignore[no-untyped-def]
        time.sleep(seconds)
        return listed(*arguments, **named)

    os.open, os.scandir = slow_open, slow_listing
    try:
        yield
    finally:
        os.open, os.scandir = opened, listed


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=100)
    parser.add_argument("--series", type=int, default=4)
    parser.add_argument("--points", type=int, default=1000)
    parser.add_argument("--repeats", type=int, default=3)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "mlruns"
        write_store(root, arguments.runs, arguments.series, arguments.points)
        compare(root, arguments.series, arguments.repeats)


def compare(root: Path, series: int, repeats: int) -> None:
    """Time both readers, the best of some repeats each, and ours once more with delays."""
    run_uuids = sorted(path.name for path in (root / "1").iterdir() if path.is_dir())
    ours, theirs = Times(), Times()
    for _ in range(repeats):
        with ours.measured():
            points = read_by_us(root)
        with theirs.measured():
            values = read_by_mlflow(root, run_uuids, series)
        if points["value"].to_pylist() != values:
            raise SystemExit("the two readers do not agree")
    delayed = Times()
    with delayed_calls(0.001), delayed.measured():
        read_by_us(root)
    sys.stdout.write(
        f"{len(values)} points of {len(run_uuids)} runs, the same from both, the best of {repeats}\n"
        f"MLflow's client, get_metric_history: {theirs.shown(len(values))}\n"
        f"FileStore, finding the runs included: {ours.shown(len(values))}\n"
        f"ratio: {theirs.wall / ours.wall:.0f}, {theirs.processor / ours.processor:.0f} of the processor alone\n"
        f"FileStore with 1 ms before every opening and listing: {delayed.wall:.3f} s\n"
    )


class Times:
    """The least wall time and processor time of some repeats, in seconds: the second is fair on a busy machine."""

    def __init__(self) -> None:
        self.wall = self.processor = float("inf")

    @contextmanager
    def measured(self) -> Iterator[None]:
        """Time what is done inside."""
        wall, processor = time.perf_counter(), time.process_time()
        yield
        self.wall = min(self.wall, time.perf_counter() - wall)
        self.processor = min(self.processor, time.process_time() - processor)

    def shown(self, points: int) -> str:
        """Say the seconds, and the points a second."""
        return (
            f"{self.wall:.3f} s ({points / self.wall:,.0f} points/s), "
            f"{self.processor:.3f} s of the processor ({points / self.processor:,.0f} points/s)"
        )


if __name__ == "__main__":
    main()
