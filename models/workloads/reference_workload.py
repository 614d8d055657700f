"""A reference workload: how it is made, from which data, and what is known of it before it is trained."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from numpy.typing import NDArray

from greedylr.workload import Workload, WorkloadDescriptors

Size = Literal["small", "large"]
ReferenceFactory = Callable[[int, str, Mapping[str, NDArray[Any]]], Workload]


@dataclass(frozen=True, kw_only=True)
class ReferenceWorkload:
    """One of the bundled workloads.

    Parameters
    ----------
    make
        (seed, device, data) -> Workload. Its attribute `rows` holds, for "training", "selection" and "reporting", the
        numbers of the examples of each; where examples are entries of a matrix, `entries` holds masks instead.
    dataset
        Name of its data set, as `pipeline.datasets` prepares them.
    descriptors
        Those of what `make` returns.
    parameters
        How many numbers its weights are.
    size
        "small" trains in seconds on a CPU, "large" in minutes on a GPU.
    pooled
        Whether it counts in figures over workloads; the noisy quadratic, a model and no data set, does not.
    """

    make: ReferenceFactory
    dataset: str
    descriptors: WorkloadDescriptors
    parameters: int
    size: Size = "small"
    pooled: bool = True
