"""How many replicas of a job are finished, counted by several threads and told to one reporter."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable

Progress = Callable[[str, int, int], None]


class StoppedError(Exception):
    """The job was given up while this seed was still being trained."""


class ReplicaCount:
    """Counts steps of replicas, seed by seed, and reports whole replicas of the job.

    Parameters
    ----------
    replicas
        Of one seed.
    seeds
        Number of seeds.
    progress
        Told of (what, done, total), each number once and in order.
    """

    def __init__(self, replicas: int, seeds: int, progress: Progress | None) -> None:
        self._replicas = replicas
        self._finished = [0.0] * seeds
        self._progress = progress
        self._reported = -1
        self._lock = threading.Lock()
        self._stopped = False

    def took_step(self, seed: int, replicas: float) -> None:
        """Count one step of seed number `seed`, in whole replicas: their number x the step's share of a run."""
        if self._stopped:
            raise StoppedError
        with self._lock:
            self._finished[seed] += replicas
            self._report()

    def finished(self, seed: int, replicas: int) -> None:
        """Count so many replicas of a seed as finished and none as under way; what was told stays told."""
        with self._lock:
            self._finished[seed] = float(replicas)
            self._report()

    def stop(self) -> None:
        """Let every thread that counts its next step here end."""
        self._stopped = True

    def _report(self) -> None:
        # Sums of shares fall short of whole numbers by rounding.
        done = math.floor(sum(self._finished) + 1e-6)
        if self._progress is not None and done > self._reported:
            self._reported = done
            self._progress("retraining", done, self._replicas * len(self._finished))
