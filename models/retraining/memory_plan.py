"""How many replicas a program holds at once: as many as are fastest, and no more than the memory takes."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping

import torch

from models.retraining.free_memory import free_bytes

logger = logging.getLogger(__name__)

# What is free now is not all ours: others take some, and operations need more than their results. A process grew by
# 1.9 times what its tensors took on a CPU, where what is too much is not refused but ends the process.
SHARE_ON_CPU, SHARE_ON_ACCELERATOR = 0.5, 0.8

_SIGNS_OF_NO_MEMORY = ("can't allocate memory", "out of memory", "bad_alloc", "ALLOC_FAILED")


def usable_bytes(device: str) -> int:
    """Return how much of a device's free memory tensors may take."""
    share = SHARE_ON_CPU if torch.device(device).type == "cpu" else SHARE_ON_ACCELERATOR
    return int(share * free_bytes(device))


def replicas_that_fit(usable: int, *, one: int, two: int) -> int:
    """Return how many replicas fit into memory; 1 where not even one seems to, which is then found out by trying.

    Parameters
    ----------
    usable
        Bytes that they may take.
    one, two
        Bytes that one replica and two of them held at most: their difference is a replica's own part, and the rest is
        what replicas share.
    """
    each = max(1, two - one)
    return max(1, 1 + (usable - one) // each)


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether an error says that memory ran out, on an accelerator or in the machine."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    # The allocator of the CPU, and libraries below torch, have no class of their own.
    return isinstance(error, RuntimeError) and any(sign in str(error) for sign in _SIGNS_OF_NO_MEMORY)


def too_large(label: str, device: str) -> str:
    """Return what to say of a workload of which a single replica is more than the memory takes."""
    return (
        f"{label} must fit into the memory of {device}, but ran out of it with a single replica "
        f"({free_bytes(device) / 2**20:.0f} MiB are free); make its batches, or what it evaluates at once, smaller, or "
        "take a device with more memory"
    )


class MemoryPlan:
    """The number of replicas at once, a method; shared by the threads that train seeds.

    Parameters
    ----------
    planned
        What an earlier attempt at the same job found; its chunks are cut the same way again.
    keep
        Told of the plan whenever it changes.
    """

    def __init__(self, planned: Mapping[str, int], keep: Callable[[Mapping[str, int]], None]) -> None:
        self._planned = dict(planned)
        self._keep = keep
        self._lock = threading.Lock()

    @property
    def least(self) -> int | None:
        """The smallest number of any method; None where nothing was planned."""
        return min(self._planned.values(), default=None)

    def replicas_at_once(self, method: str, measure: Callable[[], int]) -> int:
        """Return the number for a method, measured at its first use."""
        with self._lock:
            if method not in self._planned:
                self._enter(method, measure())
            return self._planned[method]

    def halve(self, method: str, tried: int) -> None:
        """Enter that memory ran out with `tried` replicas; another thread may have found that out already."""
        with self._lock:
            if self._planned[method] > tried // 2:
                self._enter(method, tried // 2)
                logger.warning("memory ran out with %d replicas at once; going on with %d", tried, tried // 2)

    def _enter(self, method: str, number: int) -> None:
        self._planned[method] = number
        self._keep(self._planned)
