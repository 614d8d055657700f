"""The most memory that a piece of a training holds at once."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


def peak_bytes(device: str, run: Callable[[], object]) -> int:
    """Return the most bytes of tensors that were alive at once while `run` ran, beyond those from before.

    On CUDA the allocator is asked. Elsewhere torch keeps no such count: every operation's results are followed until
    they are gone (weights, gradients, what the backward pass keeps, optimizer state, evaluations), but not what one
    operation needs for itself meanwhile.
    """
    if torch.device(device).type == "cuda":
        torch.cuda.synchronize(device)
        before = torch.cuda.memory_allocated(device)
        torch.cuda.reset_peak_memory_stats(device)
        run()
        torch.cuda.synchronize(device)
        return int(torch.cuda.max_memory_allocated(device) - before)
    living = _LivingStorages()
    with living:
        run()
    return living.peak


class _LivingStorages(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Follows each storage from the operation that made it to its end; a view has the storage of its origin."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.peak = 0
        self._now = 0
        self._living: dict[int, weakref.ref[torch.UntypedStorage]] = {}

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        made = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(made):
            if isinstance(leaf, Tensor):
                self._enter(leaf.untyped_storage())
        return made

    def _enter(self, storage: torch.UntypedStorage) -> None:
        key, size = storage._cdata, storage.nbytes()
        if key in self._living:
            return

        def leave(_: object) -> None:
            del self._living[key]
            self._now -= size

        self._living[key] = weakref.ref(storage, leave)
        self._now += size
        self.peak = max(self.peak, self._now)
