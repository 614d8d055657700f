"""Arrays of a few hundred numbers, one a replica: NumPy's on the CPU, torch's on an accelerator.

An operation on so few numbers is all overhead, and NumPy's overhead is a third of torch's. What is written with the
namespace of its arguments (`where`, `minimum`, `isfinite` mean the same in both) runs on either.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

# A numpy.ndarray or a torch.Tensor; no type says what both can do.
Array = Any


def namespace(array: Array) -> Any:
    """Return the module whose functions take this array."""
    return torch if isinstance(array, Tensor) else np


def device_array(values: Sequence[Any] | Array, dtype: str, device: str | torch.device) -> Array:
    """Return values as an array of a device: "float64", "int64" or "bool"."""
    host = np.asarray(values, dtype=dtype)
    return host if _is_host(device) else torch.as_tensor(host, device=device)


def shared_array(tensor: Tensor) -> Array:
    """Return the array of a tensor's device that shares its memory."""
    return tensor.detach().numpy() if _is_host(tensor.device) else tensor.detach()


def shared_tensor(array: Array) -> Tensor:
    """Return the tensor that shares an array's memory."""
    return array if isinstance(array, Tensor) else torch.from_numpy(array)


def surely_none(flags: Array) -> bool:
    """Return whether no flag is set, where that is known without waiting for an accelerator; False where it is not."""
    return isinstance(flags, np.ndarray) and not np.count_nonzero(flags)


def rows_of(flags: Array) -> Array:
    """Return where flags (n,) are set; on an accelerator, which would have to be waited for, the flags themselves."""
    return flags.nonzero()[0] if isinstance(flags, np.ndarray) else flags


def surely_empty(rows: Array) -> bool:
    """Return whether there are no rows, where that is known without waiting for an accelerator."""
    return isinstance(rows, np.ndarray) and not rows.size


def rows_taken(rows: Array, *arrays: Array) -> Sequence[Array]:
    """Return these rows of arrays (n,); on an accelerator all rows."""
    return [array.take(rows) for array in arrays] if isinstance(rows, np.ndarray) else arrays


def rows_replaced(array: Array, rows: Array, values: Array) -> Array:
    """Return an array (n,) with other values in these rows, as many as `rows_taken` gives."""
    if not isinstance(array, np.ndarray):
        return torch.where(rows, values, array)
    replaced = array.copy()
    replaced[rows] = values
    return replaced


def _is_host(device: str | torch.device) -> bool:
    return torch.device(device).type == "cpu"
