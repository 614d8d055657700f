"""Several ranks, one rate: the loss is averaged over them before the rule decides, the preset resolved on one of them.

Left to themselves the ranks see different losses, and their rates drift apart. Nothing here costs anything where
`torch.distributed` was not started.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from greedylr.preset import Preset

if TYPE_CHECKING:
    from torch.distributed import ProcessGroup


def is_distributed() -> bool:
    """Return whether this process is one of several that train together."""
    import torch.distributed as dist

    return dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1


def average_of_ranks() -> Callable[[float], float] | None:
    """Return `mean_over_ranks` in a process that is one of several, None in one that is alone."""
    # A process that never imported torch.distributed is not one of several, and shall not pay for the import.
    if "torch.distributed" not in sys.modules:
        return None
    return mean_over_ranks if is_distributed() else None


def mean_over_ranks(loss: float, group: ProcessGroup | None = None) -> float:
    """Return the mean of every rank's loss; NaN on all of them where it is NaN on one.

    Every rank of the group must call it, and as often: each is to step the scheduler on each of its evaluations.
    """
    import torch
    import torch.distributed as dist

    total = torch.tensor(loss, dtype=torch.float64, device=_device(dist.get_backend(group)))
    dist.all_reduce(total, group=group)
    return total.item() / dist.get_world_size(group)


def preset_on_rank_zero(load: Callable[[], Preset]) -> Preset:
    """Return on every rank the preset that `load` gives on rank 0, where alone it is called.

    So an alias that moves while the ranks start cannot part them. Without `torch.distributed` it is just `load()`.

    Raises
    ------
    ValueError
        On the other ranks if `load` failed on rank 0, where its own error is raised: nobody waits for ever.

    Examples
    --------
    >>> from greedylr import load_preset
    >>> preset_on_rank_zero(lambda: load_preset("robust")).name
    'robust'
    """
    if not is_distributed():
        return load()
    import torch.distributed as dist

    if dist.get_rank() == 0:
        return _load_and_send(load)
    text, error = _broadcast([None, None])
    if text is None:
        raise ValueError(f"rank 0 could not load the preset: {error}")
    return Preset.from_json(text)


def _load_and_send(load: Callable[[], Preset]) -> Preset:
    preset, message = None, "see its own output"
    try:
        preset = load()
    except ValueError as error:
        message = str(error)
        raise
    finally:
        _broadcast([None, message] if preset is None else [preset.to_json(), None])
    return preset


def _broadcast(values: list[Any]) -> list[Any]:
    import torch.distributed as dist

    dist.broadcast_object_list(values, src=0, device=_device(dist.get_backend()))
    return values


def _device(backend: str) -> Any:
    """Return a device that the backend can move tensors of: NCCL and its kin know no host memory."""
    import torch

    if backend in ("nccl", "xccl", "hccl"):
        return torch.accelerator.current_accelerator()
    return torch.device("cpu")
