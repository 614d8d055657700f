"""The loss f = 1/2 |V - W H|² of a factorisation and its gradients."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


def half_squared_error(values: Floats, loadings: Floats, parts: Floats) -> float:
    """Return f."""
    return 0.5 * float(np.sum((values - loadings @ parts) ** 2))


def gradients(values: Floats, loadings: Floats, parts: Floats, weights: Floats | float = 1.0) -> tuple[Floats, Floats]:
    """Return the gradients for the loadings, -R Hᵀ, and for the parts, -Wᵀ R, with the residual R = V - W H.

    With `weights` of 0 and 1 in the shape of V, only entries with 1 count.
    """
    residual = (values - loadings @ parts) * weights
    return -residual @ parts.T, -loadings.T @ residual


def squared_spectral_norm(matrix: Floats) -> float:
    """Return the square of the largest singular value.

    Raises
    ------
    ValueError
        If the matrix is empty, zero or not finite.
    """
    norm = float(np.linalg.norm(matrix, 2)) if matrix.ndim == 2 and matrix.size and np.isfinite(matrix).all() else 0.0
    if norm == 0:
        raise ValueError(
            f"a factor must be a finite matrix with an entry that is not 0, got one of shape {matrix.shape}; "
            "at zero nothing moves, and no rate is the largest"
        )
    return norm**2
