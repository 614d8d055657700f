"""Batches of rows far from the optimum: up to which rate f falls in expectation."""

from __future__ import annotations

import numpy as np

from models.nmf.factorisation import Floats, squared_spectral_norm


def largest_stable_learning_rate(values: Floats, loadings: Floats, parts: Floats, *, batch_size: int) -> float:
    """Return the rate up to which a step for the parts from a batch of rows lowers f in expectation.

    A batch gives the gradient g + e with E[e] = 0 and tr Σ = E|e|². With L = |Wᵀ W|₂ (see `alternating`)

        E f(H - rate (g + e)) <= f - rate |g|² + L / 2 rate² (|g|² + tr Σ),

    which is below f for rate < 2 |g|² / (L (|g|² + tr Σ)). Sharp where g and e lie along the eigenvector of L, as with
    one column of W; else careful. At the optimum of the other factor g is zero and so is the bound.

    Parameters
    ----------
    batch_size
        Rows a batch, drawn without replacement.

    Raises
    ------
    ValueError
        If the loadings are zero, or there are not so many rows.

    References
    ----------
    Bottou, Curtis & Nocedal, "Optimization methods for large-scale machine learning", SIAM Review 2018, section 4.
    """
    gradient, noise = gradient_and_noise(values, loadings, parts, batch_size=batch_size)
    if gradient == 0:
        return 0.0
    return 2 * gradient / (squared_spectral_norm(loadings) * (gradient + noise))


def gradient_and_noise(values: Floats, loadings: Floats, parts: Floats, *, batch_size: int) -> tuple[float, float]:
    """Return |g|² of the gradient for the parts, and the trace tr Σ of the covariance of its estimate from a batch.

    Row i gives the term G_i = w_i (w_iᵀ H - v_i), g is their sum, and the estimate n / b times the sum over the batch.
    Without replacement tr Σ = n (n - b) / (b (n - 1)) (sum_i |G_i|² - |g|² / n), as for the mean of any sample.
    """
    n_rows = len(values)
    if not 1 <= batch_size <= n_rows:
        raise ValueError(f"batch_size must lie in 1 .. {n_rows} rows, got {batch_size}")
    misses = loadings @ parts - values
    squares = float(np.sum(np.sum(loadings**2, axis=1) * np.sum(misses**2, axis=1)))
    gradient = float(np.sum((loadings.T @ misses) ** 2))
    share = n_rows * (n_rows - batch_size) / (batch_size * max(n_rows - 1, 1))
    return gradient, share * max(squares - gradient / n_rows, 0.0)
