"""Batches at a constant rate, with the other factor held fixed: stable in mean square or not."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from models.nmf.alternating import require_momentum
from models.nmf.factorisation import Floats

# Directions in which nothing is measured never move; they are left out.
LEAST_EIGENVALUE = 1e-12


@dataclass(frozen=True, kw_only=True)
class SecondMoment:
    """E[A_B (x) A_B] = own sum_i M_i (x) M_i + pair A (x) A, for A = sum_i M_i with M_i = a_i a_iᵀ.

    A_B is the Hessian that a batch sees, with mean A. `own` and `pair` come from how terms get into a batch.
    """

    own: float
    pair: float

    @classmethod
    def of_drawn_terms(cls, batch_size: int, total: int) -> SecondMoment:
        """Batches of `batch_size` of `total` terms without replacement, each weighted with total / batch_size.

        A term is in a batch with p = b / N, two different ones with q = b (b - 1) / (N (N - 1)), so own = (p - q) / p²
        and pair = q / p². For rows these are the rows; for entries all of V, though a row of W sees its own only.
        """
        if not 1 <= batch_size <= total:
            raise ValueError(f"batch_size must lie in 1 .. total = {total}, got {batch_size}")
        once = batch_size / total
        together = once * (batch_size - 1) / max(total - 1, 1)
        return cls(own=(once - together) / once**2, pair=together / once**2)

    @classmethod
    def of_whole_or_nothing(cls, share: float) -> SecondMoment:
        """Batches that hold all terms or, with probability 1 - share, none: a row of W under batches of rows."""
        if not 0 < share <= 1:
            raise ValueError(f"share must lie in (0, 1], got {share!r}; it is the probability of being in a batch")
        return cls(own=0.0, pair=1 / share)


def largest_stable_learning_rate(vectors: Floats, moment: SecondMoment, *, momentum: float = 0.0) -> float:
    """Return the constant rate below which second moments of the distance to the optimum shrink, unprojected.

    Near the optimum of one factor a batch step multiplies the distance by I - rate A_B, plus noise of mean zero:
    descent at every step is impossible, and what can be asked for is that second moments stay bounded. They do if and
    only if the spectral radius of T = E[(I - rate A_B) (x) (I - rate A_B)] is below 1. T maps positive semidefinite X
    to such, so its spectral radius is an eigenvalue (Krein & Rutman), and with

        K = A (x) I + I (x) A,    N = E[A_B (x) A_B],    T = I - rate K + rate² N

    it is below 1 exactly for 0 < rate < 1 / λ_max(K⁻¹ N). With all terms in each batch that is 2 / |A|₂.

    With heavy-ball momentum μ the pair of distance and the one before it has second moments X and Y. Let X be
    stationary and eliminate Y, in the basis where A is diagonal with λ: at the edge of stability

        rate (N - C) X = (1 - μ) K X,    C_ij = μ (λ_i² + λ_j² - 2 μ λ_i λ_j) / (1 - μ²),

    so the bound is (1 - μ) / λ_max(K⁻¹ (N - C)) over symmetric X; it is 2 (1 + μ) / |A|₂ for full batches, and falls to
    (1 - μ) times that without momentum where batches are small.

    Parameters
    ----------
    vectors
        a_i, (n_terms, rank): rows of W where H is trained, columns of H where W is.
    moment
        How they get into a batch.
    momentum
        μ in [0, 1), as in `torch.optim.SGD`.

    Raises
    ------
    ValueError
        For vectors that are all zero or not finite, or a momentum out of range.

    References
    ----------
    Without momentum: Mulayoff & Michaeli, "Exact mean square linear stability analysis for SGD", COLT 2024.

    Examples
    --------
    >>> import numpy as np
    >>> largest_stable_learning_rate(np.array([[1.0], [1.0]]), SecondMoment.of_drawn_terms(2, 2))
    1.0
    """
    require_momentum(momentum)
    if vectors.ndim != 2 or not np.isfinite(vectors).all() or not vectors.any():
        raise ValueError(f"vectors must be (n_terms, rank), finite and not all 0, got shape {vectors.shape}")
    eigenvalues, basis = np.linalg.eigh(vectors.T @ vectors)
    seen = eigenvalues > LEAST_EIGENVALUE * eigenvalues[-1]
    eigenvalues, vectors = eigenvalues[seen], vectors @ basis[:, seen]
    rows, columns = np.triu_indices(len(eigenvalues))
    first, second = eigenvalues[rows], eigenvalues[columns]
    # a aᵀ in an orthonormal basis of symmetric matrices, where M_i (x) M_i is the outer product of that with itself.
    squares = vectors[:, rows] * vectors[:, columns] * np.where(rows == columns, 1.0, np.sqrt(2.0))
    damping = momentum * (first**2 + second**2 - 2 * momentum * first * second) / (1 - momentum**2)
    noise = moment.own * squares.T @ squares + np.diag(moment.pair * first * second - damping)
    scale = 1 / np.sqrt(first + second)
    return (1 - momentum) / float(np.linalg.eigvalsh(scale[:, None] * noise * scale)[-1])
