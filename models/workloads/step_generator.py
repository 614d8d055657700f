"""Random numbers of a step as a pure function of seed and step."""

from __future__ import annotations

from typing import Literal

import torch

Stream = Literal["epochs", "rows", "noise"]

# torch keeps 32 bits of a seed, so streams must lie apart in these; the golden ratio spreads them evenly.
_OFFSETS: dict[Stream, int] = {"epochs": 0, "rows": 0x9E3779B9, "noise": 2 * 0x9E3779B9}


def step_generator(seed: int, step: int, stream: Stream) -> torch.Generator:
    """Return a fresh generator for a step (or an epoch), on the CPU: a seed means the same on every device.

    Parameters
    ----------
    seed
        >= 0, of the workload.
    step
        >= 0, its number.
    stream
        What is drawn: streams of one step are independent of one another.
    """
    return torch.Generator().manual_seed(seed * 1_000_003 + step + _OFFSETS[stream])
