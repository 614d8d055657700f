"""Tables of numbers as networks take them: inputs and targets measured by the rows that are trained on."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import one_hot

from models.workloads.row_workload import SplitRows
from models.workloads.split_rows import split_rows

Targets = Literal["numbers", "classes", "yes or no"]


def standardised_table(
    dataset: str, targets: Targets, *, selection: int, reporting: int
) -> Callable[[Mapping[str, NDArray[Any]]], SplitRows]:
    """Return a function that makes a table of a data set with `inputs` (n, n_inputs) and `targets` (n,).

    Inputs, and targets that are numbers, get mean 0 and variance 1 over the training rows, which alone are looked at;
    the squared error of guessing the mean is then about 1. Classes 0 .. k - 1 become one-hot, (n, k); numbers, and 0
    or 1 for "yes or no", become (n, 1).

    Parameters
    ----------
    dataset
        Its name, for messages.
    targets
        What they are.
    selection, reporting
        Numbers of rows of these splits.
    """

    def table(data: Mapping[str, NDArray[Any]]) -> SplitRows:
        if {"inputs", "targets"} - data.keys():
            raise ValueError(f"the data must hold 'inputs' and 'targets', got {sorted(data)}; prepare {dataset!r}")
        rows = split_rows(len(data["inputs"]), selection=selection, reporting=reporting)
        inputs = _standardised(torch.from_numpy(np.asarray(data["inputs"], dtype=np.float64)), rows["training"])
        column = torch.from_numpy(np.asarray(data["targets"]))
        if targets == "classes":
            column = one_hot(column.long())
        elif targets == "numbers":
            column = _standardised(column.double(), rows["training"]).unsqueeze(1)
        else:
            column = column.unsqueeze(1)
        return SplitRows(columns=(inputs.float(), column.float()), rows=rows)

    return table


def _standardised(values: Tensor, rows: Tensor) -> Tensor:
    """Return values (n, ...) less the mean of some rows, over their deviation; a column without any becomes 0."""
    seen = values[rows]
    deviation = seen.std(dim=0, correction=0)
    return (values - seen.mean(dim=0)) / torch.where(deviation > 0, deviation, torch.ones_like(deviation))
