"""Whether a workload keeps its contract, tried once before anything is trained."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, get_args

import torch
from torch import Tensor

from greedylr.workload import Split, Workload, WorkloadDescriptors
from models.retraining.errors import WorkloadFailedError


def checked_workload(made: object, label: str) -> Workload:
    """Return what a factory made, if it is a workload that can be trained.

    Raises
    ------
    WorkloadFailedError
        Naming the part of the contract that is broken.
    """
    made = checked_type(made, label)
    _require(
        isinstance(made.descriptors, WorkloadDescriptors),
        f"{label}: descriptors must be a greedylr.workload.WorkloadDescriptors, got {made.descriptors!r}",
    )
    _require(isinstance(made.batched, bool), f"{label}: batched must be True or False, got {made.batched!r}")
    weights = _checked_weights(made, label)
    _check_batches(made, label)
    _check_training_loss(made, weights, label)
    for split in get_args(Split):
        with torch.no_grad():
            _require_scalar(made.evaluate(weights, split), f"{label}: evaluate(..., {split!r})")
    with torch.no_grad():
        projected = made.project({name: weight.clone() for name, weight in weights.items()})
    _require(
        _shapes(projected) == _shapes(weights),
        f"{label}: project must return the weights it was given, expected {_shapes(weights)}, got {_shapes(projected)}",
    )
    return made


def checked_type(made: object, label: str) -> Workload:
    """Return what a factory made, if it has the parts of a workload; else raise WorkloadFailedError."""
    if not isinstance(made, Workload):
        members = ("descriptors", "batched", "parameters", "batch", "training_loss", "evaluate", "project")
        lacking = ", ".join(name for name in members if not hasattr(made, name))
        raise WorkloadFailedError(
            f"{label} must return a greedylr.workload.Workload, got {type(made).__name__}, which lacks {lacking}"
        )
    return made


def _checked_weights(workload: Workload, label: str) -> dict[str, Tensor]:
    weights, again = workload.parameters(), workload.parameters()
    _require(
        isinstance(weights, dict)
        and len(weights) > 0
        and all(isinstance(weight, Tensor) and weight.is_floating_point() for weight in weights.values()),
        f"{label}: parameters() must return a dict of floating-point tensors, got {_described(weights)}",
    )
    _require(
        all(bool(torch.isfinite(weight).all()) for weight in weights.values()),
        f"{label}: parameters() must be finite, got {_described(weights)} with NaN or infinity in them",
    )
    _require(
        same_tensors(weights, again),
        f"{label}: parameters() must return the same weights at each call, got others at the second; "
        "draw them from a generator that the seed starts anew",
    )
    return {name: weight.detach().clone() for name, weight in weights.items()}


def _check_batches(workload: Workload, label: str) -> None:
    _require(
        same_tensors(workload.batch(0), workload.batch(0)),
        f"{label}: batch(0) must be the same at each call, got another at the second; "
        "schedules are compared on one order of the data, so make the batch a function of seed and step",
    )


def _check_training_loss(workload: Workload, weights: Mapping[str, Tensor], label: str) -> None:
    leaves = {name: weight.clone().requires_grad_() for name, weight in weights.items()}
    loss = workload.training_loss(leaves, workload.batch(0))
    _require_scalar(loss, f"{label}: training_loss(...)")
    _require(
        loss.requires_grad,
        f"{label}: training_loss(...) must have a gradient, got a tensor without; "
        "compute it from the parameters it is handed, without detach(), item() or no_grad()",
    )


def _require_scalar(loss: object, what: str) -> None:
    got = tuple(loss.shape) if isinstance(loss, Tensor) else type(loss).__name__
    _require(
        isinstance(loss, Tensor) and loss.dim() == 0,
        f"{what} must be a scalar tensor, got {got}; take the mean over the batch",
    )
    _require(bool(torch.isfinite(loss)), f"{what} must be finite at the initial weights, got {loss}")  # type: ignore[arg-type]


def _require(holds: bool, message: str) -> None:
    if not holds:
        raise WorkloadFailedError(message)


def same_tensors(one: Any, other: Any) -> bool:
    """Return whether two tensors, or two nests of them, are equal; what is no tensor is not compared."""
    if isinstance(one, Tensor):
        return isinstance(other, Tensor) and torch.equal(one, other)
    if isinstance(one, dict):
        same_keys = isinstance(other, dict) and one.keys() == other.keys()
        return same_keys and all(same_tensors(one[key], other[key]) for key in one)
    if isinstance(one, tuple | list):
        return len(one) == len(other) and all(same_tensors(*pair) for pair in zip(one, other, strict=True))
    return True


def _shapes(weights: Mapping[str, Tensor]) -> dict[str, tuple[int, ...]]:
    return {name: tuple(weight.shape) for name, weight in weights.items()}


def _described(value: object) -> str:
    if isinstance(value, dict):
        kinds = (str(item.dtype) if isinstance(item, Tensor) else type(item).__name__ for item in value.values())
        return "{" + ", ".join(f"{key!r}: {kind}" for key, kind in zip(value, kinds, strict=True)) + "}"
    return type(value).__name__
