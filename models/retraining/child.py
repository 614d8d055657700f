"""Runs a job in a process of its own: the only place where a user's code is imported."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from greedylr.strict_json import parse
from models.retraining.errors import WorkloadFailedError
from models.retraining.job import RESULT_FILE, Job, JobResult, read_job, read_result

FAILURE_FILE, PROGRESS_FILE, OUTPUT_FILE = "failure.json", "progress", "output.log"

CHECKOUT = Path(__file__).resolve().parents[2]
POLL_SECONDS = 0.1
OUTPUT_LINES = 5

# The checkout is put on the path by the program itself, so that it is in no variable the user's code would inherit.
PROGRAM = (
    "import sys; sys.path.insert(0, sys.argv[1]); from models.retraining.child_program import main; main(sys.argv[2:])"
)

Progress = Callable[[str, int, int], None]


def run_in_child(folder: Path, *, timeout_s: float, progress: Progress | None = None) -> JobResult:
    """Run the job of a folder in a child process and return its result.

    What the workload prints is kept in `output.log` in the folder.

    Raises
    ------
    WorkloadFailedError
        If the workload raises, breaks its contract, takes longer than `timeout_s` seconds (it and all its processes are
        then killed), or diverges in every replica.
    ValueError
        If the job itself is wrong.
    """
    folder = folder.resolve()
    job, _ = read_job(folder)
    for name in (FAILURE_FILE, PROGRESS_FILE, RESULT_FILE):
        (folder / name).unlink(missing_ok=True)
    with _started(folder, job) as process:
        _await(process, folder, job, timeout_s, progress)
    if process.returncode != 0 or not (folder / RESULT_FILE).is_file():
        raise _failure(folder, job, process.returncode)
    result = read_result(folder)
    trained = [row for row in result.rows if row.failed is None]
    if trained and all(row.diverged_step is not None for row in trained):
        slowest = min(trained, key=lambda row: row.learning_rate)
        raise WorkloadFailedError(
            f"{job.workload.label} diverged in each of its {len(trained)} replicas, from a rate of "
            f"{slowest.learning_rate:g} (at step {slowest.diverged_step}) upwards; lower its usual_learning_rate"
        )
    return result


@contextmanager
def _started(folder: Path, job: Job) -> Iterator[subprocess.Popen[bytes]]:
    with (folder / OUTPUT_FILE).open("wb") as output:
        process = subprocess.Popen(  # noqa: S603 - our own interpreter and program; the user's code is the point
            # -P: the current folder is the user's, and its files must not stand in for what we import.
            [sys.executable, "-P", "-c", PROGRAM, str(CHECKOUT), str(folder)],
            cwd=job.workload.root or folder,
            env=_environment(),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        yield process
    finally:
        # Its own session: this reaches the workload's processes too, and an interrupted parent leaves none behind.
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _environment() -> dict[str, str]:
    entries = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    kept = [entry for entry in entries if entry and Path(entry).resolve() != CHECKOUT]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(kept)}


def _await(
    process: subprocess.Popen[bytes], folder: Path, job: Job, timeout_s: float, progress: Progress | None
) -> None:
    deadline = time.monotonic() + timeout_s
    seen = ""
    while process.poll() is None:
        if time.monotonic() > deadline:
            raise WorkloadFailedError(
                f"{job.workload.label} was to be done within {timeout_s:g} s and was killed after that; "
                "allow it more time, or fewer steps"
            )
        seen = _pass_on(folder / PROGRESS_FILE, seen, progress)
        with suppress(subprocess.TimeoutExpired):
            process.wait(POLL_SECONDS)
    _pass_on(folder / PROGRESS_FILE, seen, progress)


def _pass_on(path: Path, seen: str, progress: Progress | None) -> str:
    if progress is None or not path.is_file():
        return seen
    text = path.read_text(encoding="utf-8")
    if text != seen:
        what, done, total = text.split("\t")
        progress(what, int(done), int(total))
    return text


def _failure(folder: Path, job: Job, status: int) -> Exception:
    if (folder / FAILURE_FILE).is_file():
        failure = parse((folder / FAILURE_FILE).read_text(encoding="utf-8"))
        return (ValueError if failure["kind"] == "job" else WorkloadFailedError)(failure["message"])
    how = f"was killed by signal {-status}" if status < 0 else f"ended its process with exit status {status}"
    if status == -signal.SIGKILL:
        how += " (which is what a system does where memory runs out)"
    lines = (folder / OUTPUT_FILE).read_text(encoding="utf-8", errors="replace").splitlines()[-OUTPUT_LINES:]
    return WorkloadFailedError(
        "\n  ".join([f"{job.workload.label} {how} before it was done; its last output:", *lines])
    )
