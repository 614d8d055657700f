"""The seconds that a device spent on each of several pieces of work that run side by side."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass


@dataclass
class Spent:
    """The seconds of one piece of work, so far."""

    seconds: float = 0.0


class DeviceClock:
    """Divides each moment equally among the pieces of work that run at it.

    So the pieces sum up to the time in which anything ran, however many ran side by side, and a piece keeps its part
    when others are interrupted and done again.

    Parameters
    ----------
    now
        Seconds on a clock that never goes back.

    Attributes
    ----------
    seconds
        In which anything ran: the sum of all pieces.
    """

    def __init__(self, now: Callable[[], float] = time.perf_counter) -> None:
        self._now = now
        self.seconds = 0.0
        self._running: list[Spent] = []
        self._divided_until = 0.0
        self._lock = threading.Lock()

    @contextmanager
    def spending(self) -> Iterator[Spent]:
        """Count the time inside the context; the seconds are complete after it."""
        work = Spent()
        with self._lock:
            self._divide()
            self._running.append(work)
        try:
            yield work
        finally:
            with self._lock:
                self._divide()
                # By identity: two pieces may have spent the same.
                self._running = [each for each in self._running if each is not work]

    def _divide(self) -> None:
        now = self._now()
        if self._running:
            self.seconds += now - self._divided_until
        for work in self._running:
            work.seconds += (now - self._divided_until) / len(self._running)
        self._divided_until = now
