"""The program of the child process: runs one job, and says in a file why it could not."""

from __future__ import annotations

import json
import logging
import os
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path

from models.retraining.child import FAILURE_FILE, PROGRESS_FILE
from models.retraining.errors import WorkloadFailedError
from models.retraining.execution import require_device, run_job
from models.retraining.job import Arrays, Job, JobResult, WorkloadReference, read_job, write_result
from models.retraining.replica_count import Progress
from models.retraining.user_code import import_factory

USER_FRAMES = 3

logger = logging.getLogger(__name__)


def main(arguments: Sequence[str]) -> None:
    """Run the job of the folder given as the only argument; exit status 1 where it fails."""
    folder = Path(arguments[0]).resolve()
    job, data = read_job(folder)
    try:
        write_result(folder, _run(job, data, _ProgressFile(folder / PROGRESS_FILE)))
    except (Exception, SystemExit) as error:  # the isolation border of one workload
        logger.exception("the job of %s failed", folder)
        _write_atomically(folder / FAILURE_FILE, json.dumps(_explained(error, job.workload)))
        sys.exit(1)


def _run(job: Job, data: Arrays, progress: Progress) -> JobResult:
    require_device(job.device)
    factory = None
    if job.workload.factory is not None:
        factory = import_factory(job.workload.factory, Path(str(job.workload.root)))
    return run_job(job, data, factory=factory, progress=progress)


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


def _explained(error: BaseException, workload: WorkloadReference) -> dict[str, str]:
    if isinstance(error, WorkloadFailedError):
        return {"kind": "workload", "message": str(error)}
    frames = _user_frames(error, Path(workload.root).resolve()) if workload.root else []
    if isinstance(error, ValueError) and not frames:
        return {"kind": "job", "message": str(error)}
    text = "".join(traceback.format_exception_only(error)).strip()
    hint = ""
    if "vmap" in text or "functorch" in text:
        hint = "\n  set batched = False where a loss cannot be taken of many replicas at once (torch.vmap)"
    return {"kind": "workload", "message": "\n".join([f"{workload.label} raised {text}", *frames]) + hint}


def _user_frames(error: BaseException, root: Path) -> list[str]:
    """Return the last frames of the traceback that lie in the user's own files."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [
        frame for frame in frames if Path(frame.filename).is_relative_to(root) and "site-packages" not in frame.filename
    ]
    return [f"  {frame.filename}:{frame.lineno} in {frame.name}: {frame.line}" for frame in own[-USER_FRAMES:]]
