"""Losses that wait on their device, so that the training never waits for one of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor


class DeviceLosses:
    """Losses of the evaluations since the last decision, in a buffer beside the model; read all at once.

    `push` copies (the tensor may be one that a captured graph writes into again) and starts a copy at most; only `read`
    waits for the device. O(interval) memory, there.
    """

    def __init__(self) -> None:
        self._buffer: Tensor | None = None
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def fits(self, loss: Tensor) -> bool:
        """Return whether the loss can stand beside those that wait."""
        return not self._count or self._is_like_buffer(loss)

    def push(self, loss: Tensor, capacity: int) -> None:
        """Add a loss that fits; `capacity` is how many are expected to wait at a time."""
        loss = loss.detach().reshape(())
        if self._buffer is None or not self._is_like_buffer(loss):
            self._buffer = loss.new_empty(max(capacity, 1))
        elif self._count == len(self._buffer):
            self._buffer = self._buffer.repeat(2)
        self._buffer[self._count].copy_(loss)
        self._count += 1

    def _is_like_buffer(self, loss: Tensor) -> bool:
        buffer = self._buffer
        return buffer is not None and buffer.device == loss.device and buffer.dtype == loss.dtype

    def read(self) -> list[float]:
        """Return the waiting losses in their order and forget them: the one moment that waits for the device."""
        if self._buffer is None or not self._count:
            return []
        values: list[float] = self._buffer[: self._count].tolist()
        self._count = 0
        return values
