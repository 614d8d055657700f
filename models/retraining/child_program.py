"""The program of the child process: runs one job for its parent, and says in a file why it could not."""

from __future__ import annotations

import json
import logging
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from greedylr.strict_json import encode
from models.retraining.child import FAILURE_FILE, PROGRESS_FILE
from models.retraining.errors import WorkloadFailedError
from models.retraining.execution import require_device, run_folder
from models.retraining.failure import Failure, explained
from models.retraining.job import RESULT_FILE, Job, JobResult, read_job
from models.retraining.replica_count import Progress
from models.retraining.user_code import import_factory, imported_code

logger = logging.getLogger(__name__)


def main(arguments: Sequence[str]) -> None:
    """Run the job of the folder given as the only argument; exit status 1 where it fails."""
    folder = Path(arguments[0]).resolve()
    if isinstance(run_explained(folder, _ProgressFile(folder / PROGRESS_FILE)), Failure):
        sys.exit(1)


def run_explained(folder: Path, progress: Progress) -> JobResult | Failure:
    """Run the job of a folder and return its result; where it fails, return why and write it into `failure.json`.

    Afterwards no module of ours can be imported, nor its types looked up, where the workload was a user's own.

    Raises
    ------
    ValueError, OSError
        If there is no job in the folder.
    """
    for name in (FAILURE_FILE, RESULT_FILE):
        (folder / name).unlink(missing_ok=True)
    job, _ = read_job(folder)
    try:
        return _run(folder, job, progress)
    except (Exception, SystemExit) as error:  # the isolation border of one workload
        failure = explained(error, job.workload)
        expected = failure.kind == "job" or isinstance(error, WorkloadFailedError)
        logger.error("the job of %s failed: %s", folder, failure.message, exc_info=None if expected else error)
        _write_atomically(folder / FAILURE_FILE, json.dumps(encode(failure)))
        return failure


def _run(folder: Path, job: Job, progress: Progress) -> JobResult:
    require_device(job.device)
    if job.workload.factory is None:
        return run_folder(folder, progress=progress)
    root = Path(str(job.workload.root))
    factory = import_factory(job.workload.factory, root)
    return run_folder(folder, factory=factory, code=imported_code(root), progress=progress)


class _ProgressFile:
    """Keeps the last report in a file, and ends the process once its parent is gone."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._parent = os.getppid()

    def __call__(self, what: str, done: int, total: int) -> None:
        if os.getppid() != self._parent:
            raise SystemExit("the process that started this job has ended")
        _write_atomically(self._path, f"{what}\t{done}\t{total}")


def _write_atomically(path: Path, text: str) -> None:
    partial = path.with_name(path.name + ".partial")
    partial.write_text(text, encoding="utf-8")
    partial.replace(path)
