"""What is kept of replicas that may have to be restored: the batched twin of `greedylr.snapshots`.

One copy a replica of weights and optimizer state, beside the program's own; replicas that restore nothing have none.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from models.batched_schedule import Restoration
from models.retraining.replica_state import ReplicaState, finite_replicas


class BatchedSnapshots:
    """The copies of some of n replicas; at first of the weights they begin with, and of optimizer states of zero.

    Parameters
    ----------
    restoring
        Which replicas there is a copy of, (n,).
    weights
        Those they begin with, (n, ...) each.
    """

    def __init__(self, restoring: Sequence[bool], weights: Mapping[str, Tensor]) -> None:
        flags = torch.tensor(restoring, device=next(iter(weights.values())).device)
        # The place of each replica's copy; of those that have none it is never asked for.
        self._places = flags.cumsum(0) - 1
        self._weights = {name: weight[flags] for name, weight in weights.items()}
        self._state: dict[str, Tensor] = {}

    def act(self, restoration: Restoration, weights: Mapping[str, Tensor], state: ReplicaState) -> None:
        """Keep and restore as told; the weights of those restored are changed in place."""
        self._keep(_numbers(restoration.keep), weights, state)
        self._restore(_numbers(restoration.restore), weights, state)

    def _keep(self, replicas: Tensor, weights: Mapping[str, Tensor], state: ReplicaState) -> None:
        if not len(replicas):
            return
        weights = {name: weight.index_select(0, replicas) for name, weight in weights.items()}
        states = state.copied(replicas)
        # A best whose own step has just ruined the weights is not kept.
        sound = finite_replicas(weights | {f"state {name}": tensor for name, tensor in states.items()})
        places = self._places[replicas][sound]
        for name, weight in weights.items():
            self._weights[name].index_copy_(0, places, weight[sound])
        for name, tensor in states.items():
            if name not in self._state:
                copies = len(next(iter(self._weights.values())))
                self._state[name] = tensor.new_zeros(copies, *tensor.shape[1:])
            self._state[name].index_copy_(0, places, tensor[sound])

    def _restore(self, replicas: Tensor, weights: Mapping[str, Tensor], state: ReplicaState) -> None:
        if not len(replicas):
            return
        places = self._places[replicas]
        for name, weight in weights.items():
            weight.index_copy_(0, replicas, self._weights[name].index_select(0, places))
        state.restore(replicas, {name: tensor.index_select(0, places) for name, tensor in self._state.items()})


def _numbers(flags: Tensor) -> Tensor:
    return flags.nonzero().squeeze(1)
