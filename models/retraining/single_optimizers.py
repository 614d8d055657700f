"""The optimizer of `torch.optim` that a workload is trained with."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

from greedylr.workload import WorkloadDescriptors


def torch_optimizer(
    descriptors: WorkloadDescriptors, weights: Iterable[Tensor], learning_rate: float
) -> torch.optim.Optimizer:
    """Return the optimizer of a workload on its weights, with a starting rate."""
    if descriptors.optimizer == "sgd":
        return torch.optim.SGD(
            weights,
            lr=learning_rate,
            momentum=descriptors.momentum,
            nesterov=descriptors.nesterov,
            weight_decay=descriptors.weight_decay,
        )
    make = torch.optim.AdamW if descriptors.optimizer == "adamw" else torch.optim.Adam
    return make(
        weights,
        lr=learning_rate,
        betas=(descriptors.beta1, descriptors.beta2),
        eps=descriptors.epsilon,
        weight_decay=descriptors.weight_decay,
    )
