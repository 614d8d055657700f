"""Full gradients for one factor in turn, with the other held fixed."""

from __future__ import annotations

import numpy as np

from models.nmf.factorisation import Floats, gradients, squared_spectral_norm


def largest_stable_learning_rate(fixed: Floats, *, momentum: float = 0.0) -> float:
    """Return the largest stable rate for one factor while the other, `fixed`, is held: to be taken anew each half-step.

    With H fixed, f is quadratic in W. A step D changes it by

        f(W + D) - f(W) = <G, D> + 1/2 |D H|²  <=  <G, D> + L/2 |D|²,    L = |H Hᵀ|₂ = |H|₂²,

    and D = -rate G makes that -rate (1 - rate L / 2) |G|², which is not above 0 up to rate = 2 / L. The projection to
    the non-negative changes nothing: W is feasible and D leads to the feasible point nearest to W - rate G, so
    <G, D> <= -|D|² / rate, and the same bound follows. Beyond it a step along the eigenvector of L raises f: its
    residual is multiplied by 1 - rate L < -1. Other directions may fall by more, and the projection may stop what
    grows, so f may still end low. The same holds for H, with L = |Wᵀ W|₂.

    With heavy-ball momentum m an eigenvalue h of the Hessian gives the recursion with the roots of
    z² - (1 + m - rate h) z + m, which lie inside the unit circle for 0 < rate h < 2 (1 + m). So the bound is
    2 (1 + m) / L; it is one of stability, single steps may raise f below it.

    Parameters
    ----------
    fixed
        H (rank, n_columns) for the rate of W, or W (n_rows, rank) for that of H.
    momentum
        In [0, 1), as in `torch.optim.SGD`.

    Raises
    ------
    ValueError
        For a factor that is zero or not finite, or a momentum out of range.

    References
    ----------
    Momentum: Polyak, "Some methods of speeding up the convergence of iteration methods", 1964.

    Examples
    --------
    >>> import numpy as np
    >>> largest_stable_learning_rate(np.array([[2.0, 0.0], [0.0, 1.0]]))
    0.5
    """
    require_momentum(momentum)
    return 2 * (1 + momentum) / squared_spectral_norm(fixed)


def careful_descent(
    values: Floats, loadings: Floats, parts: Floats, *, weights: Floats | float = 1.0, sweeps: int
) -> tuple[Floats, Floats]:
    """Return the factors after `sweeps` projected steps of each in turn at half of its largest stable rate.

    Half of it, 1 / L, is where the bound on f falls fastest. Weights of 0 only make f flatter, and the steps shorter
    than they could be.
    """
    for _ in range(sweeps):
        rate = largest_stable_learning_rate(parts) / 2
        loadings = np.maximum(loadings - rate * gradients(values, loadings, parts, weights)[0], 0)
        rate = largest_stable_learning_rate(loadings) / 2
        parts = np.maximum(parts - rate * gradients(values, loadings, parts, weights)[1], 0)
    return loadings, parts


def require_momentum(momentum: float) -> None:
    """Raise ValueError unless a momentum lies in [0, 1)."""
    if not 0 <= momentum < 1:
        raise ValueError(f"momentum must lie in [0, 1), got {momentum!r}; with 1 the factors never come to rest")
