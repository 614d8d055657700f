"""The digits as both reference workloads take them: 2 x 2 pixels pooled to one, 14 x 14 in [0, 1]."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

SIDE = 14
PIXELS = SIDE * SIDE
DATASET = "mnist_digits"


def pooled_digits(data: Mapping[str, NDArray[Any]]) -> NDArray[np.float32]:
    """Return images of shape (n_images, 196) from those of shape (n_images, 784) in 0 .. 255.

    Raises
    ------
    ValueError
        If the data set holds no such images.
    """
    images = data.get("images")
    if images is None or images.ndim != 2 or images.shape[1] != 4 * PIXELS:
        shape = None if images is None else images.shape
        raise ValueError(f"the data must hold 'images' of shape (n, {4 * PIXELS}), got {shape}; prepare {DATASET!r}")
    blocks = images.reshape(-1, SIDE, 2, SIDE, 2).astype(np.float32)
    return np.asarray(blocks.mean(axis=(2, 4)).reshape(-1, PIXELS) / 255)
