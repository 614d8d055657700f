"""Tensors that hold something of each of n replicas, (n, ...): copies of single replicas, and whether all is finite."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor


class ReplicaState:
    """The state of a batched optimizer: tensors (n, ...) by name, each of which begins at zero."""

    def __init__(self) -> None:
        self._tensors: dict[str, Tensor] = {}

    def of(self, name: str, like: Tensor) -> Tensor:
        """Return the tensor of this name, to be changed in place; zeros like another one where it is new."""
        if name not in self._tensors:
            self._tensors[name] = torch.zeros_like(like)
        return self._tensors[name]

    def copied(self, replicas: Tensor) -> dict[str, Tensor]:
        """Return copies of what is held of some replicas, which are given by their numbers (k,)."""
        return {name: tensor.index_select(0, replicas) for name, tensor in self._tensors.items()}

    def restore(self, replicas: Tensor, kept: Mapping[str, Tensor]) -> None:
        """Write back what was copied of some replicas; what is new since then is zero again."""
        for name, tensor in self._tensors.items():
            if name in kept:
                tensor.index_copy_(0, replicas, kept[name])
            else:
                tensor.index_fill_(0, replicas, 0)


def finite_replicas(tensors: Mapping[str, Tensor]) -> Tensor:
    """Return of which replicas all numbers are finite, (n,) bool."""
    rows = [tensor.reshape(len(tensor), -1) for tensor in tensors.values()]
    finite = torch.stack([row.sum(1).double() for row in rows]).isfinite().all(0)
    if bool(finite.all()):
        return finite
    # A sum may overflow though nothing in it has. NaN wins both of these; a flag a number would take ten times as long.
    extremes = torch.stack([extreme.double() for row in rows for extreme in (row.amax(1), row.amin(1))])
    return extremes.isfinite().all(0)
