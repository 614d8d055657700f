"""The same numbers twice on the same device: what torch needs for it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def same_numbers_twice(device: str) -> Iterator[None]:
    """Let torch take operations that give the same bits at each run, and warn where it has none.

    On a CPU it is needed only where torch uses several threads, and cost 3 to 6 % of a small training: the filling of
    fresh memory that comes with torch's switch, a help for finding reads of it, is left out. On CUDA, where the cost
    has not been measured, cuBLAS takes its part only with a workspace of a fixed size, which has to be said before its
    first use in the process.
    """
    if torch.device(device).type == "cuda":
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    before = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
    filling = torch.utils.deterministic.fill_uninitialized_memory  # type: ignore[attr-defined]
    torch.use_deterministic_algorithms(True, warn_only=True)
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before[0], warn_only=before[1])
        torch.utils.deterministic.fill_uninitialized_memory = filling  # type: ignore[attr-defined]
