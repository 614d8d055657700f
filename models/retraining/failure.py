"""Why a job or a workload failed, in words for whoever can mend it."""

from __future__ import annotations

import traceback
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from models.retraining.errors import WorkloadFailedError
from models.retraining.job import WorkloadReference

USER_FRAMES = 3


@dataclass(frozen=True, kw_only=True)
class Failure:
    """What failed, the workload or the job that asked for it, and why."""

    kind: Literal["workload", "job"]
    message: str


def explained(error: BaseException, workload: WorkloadReference) -> Failure:
    """Return an error as a failure, with the last lines of a user's own code that led to it."""
    if isinstance(error, WorkloadFailedError):
        return Failure(kind="workload", message=str(error))
    frames = _user_frames(error, Path(workload.root).resolve()) if workload.root else []
    if isinstance(error, ValueError) and not frames:
        return Failure(kind="job", message=str(error))
    text = "".join(traceback.format_exception_only(error)).strip()
    hint = ""
    if "vmap" in text or "functorch" in text:
        hint = "\n  set batched = False where a loss cannot be taken of many replicas at once (torch.vmap)"
    return Failure(kind="workload", message="\n".join([f"{workload.label} raised {text}", *frames]) + hint)


def _user_frames(error: BaseException, root: Path) -> list[str]:
    """Return the last frames of the traceback that lie in the user's own files."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [
        frame for frame in frames if Path(frame.filename).is_relative_to(root) and "site-packages" not in frame.filename
    ]
    return [f"  {frame.filename}:{frame.lineno} in {frame.name}: {frame.line}" for frame in own[-USER_FRAMES:]]
