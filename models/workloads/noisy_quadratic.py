"""The noisy quadratic: a model of training that can be solved, and no data set; it counts in no pooled figure.

An example is a centre c, and its loss is ½ Σ h (w - c)², with curvatures h on a logarithmic grid. Centres have mean m
and variance s² / h, so the gradient of a batch of B examples is h (w - m) plus noise of variance h s² / B, of the shape
of the curvature as Zhang et al. 2019 (NeurIPS, section 3.1) take it. Under plain SGD with rates η the expected square
of the distance to the mean, e = E[(w - m)²], follows

    e <- (1 - η h)² e + η² h s² / B

whatever its history; a test holds the workload against it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from greedylr.workload import WorkloadDescriptors
from models.workloads.reference_workload import ReferenceWorkload
from models.workloads.row_workload import RowWorkload, SplitRows
from models.workloads.split_rows import split_rows

DATASET = "noisy_quadratic"

DESCRIPTORS = WorkloadDescriptors(
    name="noisy-quadratic",
    family="noisy-quadratic",
    task="quadratic model",
    momentum=0.0,
    total_steps=300,
    batch_size=2,
    usual_learning_rate=1.0,
)


def noisy_quadratic(seed: int, device: str, data: Mapping[str, NDArray[Any]]) -> RowWorkload:
    """Return one descent, from normal weights (d,) that the seed draws; batches are drawn with replacement.

    Parameters
    ----------
    seed
        Fixes initial weights and batches.
    device
        A torch device.
    data
        `curvatures` (d,), > 0, and `centres` (n, d).
    """
    if {"curvatures", "centres"} - data.keys():
        raise ValueError(f"the data must hold 'curvatures' and 'centres', got {sorted(data)}; prepare {DATASET!r}")
    curvatures = torch.from_numpy(np.asarray(data["curvatures"], dtype=np.float32)).to(device)
    centres = torch.from_numpy(np.asarray(data["centres"], dtype=np.float32))

    def initial(generator: torch.Generator) -> dict[str, Tensor]:
        return {"weights": torch.randn(len(curvatures), generator=generator)}

    def loss(parameters: Mapping[str, Tensor], batch: Tensor) -> Tensor:
        distances = parameters["weights"] - batch.to(parameters["weights"].dtype)
        return (distances.square() @ curvatures.to(distances.dtype)).mean() / 2

    rows = split_rows(len(centres), selection=1000, reporting=2000)
    return RowWorkload(
        DESCRIPTORS,
        seed,
        device,
        SplitRows(columns=(centres,), rows=rows),
        initial=initial,
        loss=loss,
        replacement=True,
        evaluated_at_once=len(centres),
    )


REFERENCES = (
    ReferenceWorkload(make=noisy_quadratic, dataset=DATASET, descriptors=DESCRIPTORS, parameters=32, pooled=False),
)
