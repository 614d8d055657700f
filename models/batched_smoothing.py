"""The means of the last losses of many replicas, each over a window of its own."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from greedylr.smoothing import DWARFS
from models.device_arrays import Array, device_array, namespace, surely_none


class BatchedTrailingMeans:
    """Many `greedylr.smoothing.TrailingMean`s; they round in the same order.

    Only a sum that is taken afresh, after a value that dwarfed it, may differ in its last digit.

    Parameters
    ----------
    windows
        So many values each mean is over, (n,).
    keeps_errors
        Whose sums keep what they have once swallowed, (n,).
    most
        No more values than this will come.
    """

    def __init__(self, windows: Sequence[int], keeps_errors: Sequence[bool], *, most: int, device: str) -> None:
        self._device = device
        self._keeps_errors = device_array(keeps_errors, "bool", device)
        self._keep_all = all(keeps_errors)
        # A row a place, so that the values of a step lie together in memory where the windows are of one length.
        self._ring = device_array(np.zeros((min(max(windows), most), len(windows))), "float64", device)
        self._columns = device_array(range(len(windows)), "int64", device)
        self._total = device_array([0.0] * len(windows), "float64", device)
        self._pushed = device_array([0] * len(windows), "int64", device)
        self.set_windows(windows)

    def set_windows(self, windows: Sequence[int]) -> None:
        """Take other windows, none longer than the longest at first; means whose window changed must be empty."""
        self._window = device_array(windows, "int64", self._device)

    def push(self, values: Array, which: Array | None = None) -> None:
        """Add one value to each, or to those marked."""
        where = namespace(values).where
        # By place in the flat ring is twice as fast as by row and column.
        ring, place = self._ring.reshape(-1), self._pushed % self._window * len(self._columns) + self._columns
        # Places not yet filled hold 0, and taking 0 off changes nothing.
        oldest = ring.take(place)
        ring[place] = values if which is None else where(which, values, oldest)
        total = (self._total + values) - oldest
        if not self._keep_all:
            bound = DWARFS * abs(total)
            untrusted = ~((abs(oldest) <= bound) & (bound < math.inf) | self._keeps_errors)
            if not surely_none(untrusted):
                total = where(untrusted, self._ring.sum(0), total)
        self._total = total if which is None else where(which, total, self._total)
        self._pushed = self._pushed + (1 if which is None else which)

    def means(self) -> Array:
        """Return the means, NaN where nothing was added yet."""
        return self._total / namespace(self._total).minimum(self._pushed, self._window)

    def full(self) -> Array:
        """Return which windows are full."""
        return self._pushed >= self._window

    def clear(self, which: Array) -> None:
        """Forget all values of those marked."""
        if surely_none(which):
            return
        where = namespace(which).where
        self._ring = where(which, 0.0, self._ring)
        self._total = where(which, 0.0, self._total)
        self._pushed = where(which, 0, self._pushed)
