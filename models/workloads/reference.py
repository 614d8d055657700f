"""The reference workloads by name: what presets are proved on where a group has no workload of its own."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

from numpy.typing import NDArray

from greedylr.workload import Workload, WorkloadDescriptors
from models.workloads import digits_nmf, mnist_mlp
from models.workloads.digit_images import DATASET
from models.workloads.digits_nmf import DigitsNMF
from models.workloads.mnist_mlp import MnistMLP

ReferenceFactory = Callable[[int, str, Mapping[str, NDArray[Any]]], Workload]

REFERENCE_WORKLOADS: dict[str, ReferenceFactory] = {"mnist-mlp": MnistMLP, "digits-nmf": DigitsNMF}

# Name of the data set that each one takes, as `pipeline.datasets` prepares them.
REFERENCE_DATASETS: dict[str, str] = {"mnist-mlp": DATASET, "digits-nmf": DATASET}

REFERENCE_DESCRIPTORS: dict[str, WorkloadDescriptors] = {
    workload.name: workload for workload in (mnist_mlp.DESCRIPTORS, digits_nmf.DESCRIPTORS)
}


def nearest_reference(usual_steps: int | None) -> str:
    """Return the reference workload nearest to a group's in length, on a log scale; the first where that is unknown.

    Length is all that logs tell of every group; with more reference workloads this will compare more.
    """
    if not usual_steps:
        return next(iter(REFERENCE_DESCRIPTORS))
    return min(
        REFERENCE_DESCRIPTORS,
        key=lambda name: abs(math.log(REFERENCE_DESCRIPTORS[name].total_steps / usual_steps)),
    )
