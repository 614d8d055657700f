"""The mean of the last losses, O(1) an observation."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable

# A value this many times the sum that it leaves takes digits with it: the sum is then taken afresh.
DWARFS = 1e6


class TrailingMean:
    """Mean of the last `window_size` values, of fewer while fewer have come.

    A running sum, added to before the oldest value is taken off: `transformers.GreedyLR` rounds in this order. There a
    NaN, or the rounding error of one huge value, never leaves the sum; here it does, unless `keeps_errors`.
    """

    def __init__(
        self, window_size: int, values: Iterable[float] = (), total: float = 0.0, *, keeps_errors: bool = False
    ) -> None:
        self.window_size = window_size
        self.values = deque(values)
        self.total = total
        self.keeps_errors = keeps_errors

    def push(self, value: float) -> float:
        """Add one value and return the mean."""
        values = self.values
        values.append(value)
        total = self.total + value
        count = len(values)
        if count > self.window_size:
            oldest = values.popleft()
            total -= oldest
            count -= 1
            if not self.keeps_errors and not abs(oldest) <= DWARFS * abs(total) < math.inf:
                total = sum(values)
        self.total = total
        return total / count

    def mean(self) -> float:
        """Return the mean; NaN while there is no value."""
        return self.total / len(self.values) if self.values else float("nan")

    def clear(self) -> None:
        """Forget all values."""
        self.values.clear()
        self.total = 0.0
