"""MNIST digits as their workloads take them: in [0, 1], 28 x 28, or 2 x 2 pixels pooled to one, 14 x 14."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import one_hot

from models.workloads.row_workload import SplitRows
from models.workloads.split_rows import split_rows

SIDE = 14
PIXELS = SIDE * SIDE
FULL_SIDE = 2 * SIDE
FULL_PIXELS = FULL_SIDE * FULL_SIDE
CLASSES = 10
DATASET = "mnist_digits"
ALL_DATASET = "mnist_all"
FAMILY = "mnist-digits"

SELECTION_ROWS, REPORTING_ROWS = 500, 1000
ALL_SELECTION_ROWS, ALL_REPORTING_ROWS = 2000, 4000

Arrays = Mapping[str, NDArray[Any]]


def pooled_digits(data: Arrays) -> NDArray[np.float32]:
    """Return images of shape (n_images, 196) from those of shape (n_images, 784) in 0 .. 255.

    Raises
    ------
    ValueError
        If the data set holds no such images.
    """
    blocks = _images(data).reshape(-1, SIDE, 2, SIDE, 2).astype(np.float32)
    return np.asarray(blocks.mean(axis=(2, 4)).reshape(-1, PIXELS) / 255)


def pooled_digit_table(data: Arrays) -> SplitRows:
    """Return pooled digits (n, 196) with their classes (n, 10), one-hot."""
    images = torch.from_numpy(pooled_digits(data))
    rows = split_rows(len(images), selection=SELECTION_ROWS, reporting=REPORTING_ROWS)
    return SplitRows(columns=(images, _classes(data)), rows=rows)


def full_digit_table(data: Arrays) -> SplitRows:
    """Return all of MNIST, (n, 784), with its classes (n, 10), one-hot."""
    images = torch.from_numpy(_images(data).astype(np.float32) / 255)
    rows = split_rows(len(images), selection=ALL_SELECTION_ROWS, reporting=ALL_REPORTING_ROWS)
    return SplitRows(columns=(images, _classes(data)), rows=rows)


def reconstruction(table: SplitRows) -> SplitRows:
    """Return a table whose targets are its inputs."""
    inputs, _ = table.columns
    return SplitRows(columns=(inputs, inputs), rows=table.rows)


def _images(data: Arrays) -> NDArray[Any]:
    images = data.get("images")
    if images is None or images.ndim != 2 or images.shape[1] != FULL_PIXELS:
        shape = None if images is None else images.shape
        raise ValueError(
            f"the data must hold 'images' of shape (n, {FULL_PIXELS}), got {shape}; "
            f"prepare {DATASET!r} or {ALL_DATASET!r}"
        )
    return images


def _classes(data: Arrays) -> Tensor:
    return one_hot(torch.from_numpy(np.asarray(data["labels"], dtype=np.int64)), CLASSES).float()
