"""`python -m models.retraining.job FOLDER`: runs a job by hand, where there is only torch, numpy and scikit-learn.

prepared elsewhere:  FOLDER/job.json, FOLDER/data.npz
written here:        FOLDER/result.json, FOLDER/curves.npz, or FOLDER/failure.json
"""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from models.retraining.child_program import run_explained
from models.retraining.failure import Failure
from models.retraining.job import JOB_FILE, RESULT_FILE

SECONDS_BETWEEN_LINES = 5.0

logger = logging.getLogger(__name__)


def main(arguments: Sequence[str]) -> int:
    """Run the job of a folder and return the exit status: 0, 1 where it failed, 2 where there is no job to run.

    What an earlier attempt finished before it was killed is not trained again. Lines about it go to stderr.
    """
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="%(message)s")
    if len(arguments) != 1 or not (Path(arguments[0]) / JOB_FILE).is_file():
        given = " ".join(arguments) or "nothing"
        logger.error("usage: python -m models.retraining.job FOLDER, which holds a %s; got %s", JOB_FILE, given)
        return 2
    folder = Path(arguments[0]).resolve()
    try:
        result = run_explained(folder, ProgressLines(logger.info))
    except (ValueError, OSError) as error:
        logger.error("%s", error)
        return 2
    if isinstance(result, Failure):
        return 1
    logger.info("done in %.1f device-seconds: %s", result.device_seconds, folder / RESULT_FILE)
    return 0


class ProgressLines:
    """Writes a line every few seconds, and the first and the last one at once.

    Parameters
    ----------
    write
        Takes a line.
    now
        Seconds on a clock that never goes back.
    """

    def __init__(self, write: Callable[[str], object], now: Callable[[], float] = time.monotonic) -> None:
        self._write = write
        self._now = now
        self._started = now()
        self._due = self._started

    def __call__(self, what: str, done: int, total: int) -> None:
        """Take a report."""
        now = self._now()
        if now < self._due and done < total:
            return
        self._due = now + SECONDS_BETWEEN_LINES
        self._write(f"{what}: {done} of {total} replicas, {now - self._started:.0f} s")
