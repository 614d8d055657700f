"""How noisy the losses of a group are, and over what window they must be averaged before a rule may look at them."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.group_history import GroupHistory
from models.regret import regret

SHORTEST_WINDOW, LONGEST_WINDOW = 0.06, 0.12

# How much the averaged loss may still scatter, relative to the loss: of the order of what an interval of T/40 gains in
# the middle of a run. Arbitrary within that order.
AVERAGED_NOISE = 0.04

# In a run's first tenth the loss falls too fast to tell trend from noise.
TRANSIENT = 0.1
SEGMENT_POINTS = 10
MOST_SEGMENTS = 8
# So that a regret of exactly 0 has a logarithm: one hundredth of the way from naive to best.
REGRET_FLOOR = 0.01
_MAD_TO_SD = 1.4826


@dataclass(frozen=True, kw_only=True)
class LossNoise:
    """Noise of the training loss about its trend; medians over runs.

    Parameters
    ----------
    relative
        Standard deviation of the log loss (robust, from the median absolute deviation).
    autocorrelation
        Lag 1, between logged points.
    window
        Share of the run in [0.06, 0.12]: over it the noise averages out to 4 %.
    runs
        Behind the medians.
    """

    relative: float
    autocorrelation: float
    window: float
    runs: int


def loss_noise(history: GroupHistory) -> tuple[LossNoise | None, str]:
    """Return the noise of a group's training losses, and why it is unknown where it is.

    Within at most eight segments of a run after its first tenth, a straight line is taken off the log loss; what is
    left is noise. With standard deviation s, autocorrelation r and n points in a whole run, the mean over a share w of
    it has the variance s^2 (1 + r) / (1 - r) / (w n), which is set equal to 0.04^2 and solved for w.

    Losses that are zero or negative anywhere in the group are turned into regret first, plus 0.01.
    """
    logs = _log_losses(history)
    if logs is None:
        return None, "losses are zero or negative and no scale of regret is known: noise unknown"
    measured = []
    for run, points in history.points():
        losses, positions = logs[points], history.position[points]
        settled = np.isfinite(losses) & (positions > TRANSIENT)
        if history.lost[run] or settled.sum() < SEGMENT_POINTS or np.ptp(losses[settled]) == 0:
            continue
        measured.append(_noise_of_run(positions[settled], losses[settled]))
    if not measured:
        return None, (
            f"no run survived with at least {SEGMENT_POINTS} different losses after its first tenth: noise unknown"
        )
    relative, autocorrelation, window = np.median(np.asarray(measured), axis=0).tolist()
    return LossNoise(
        relative=relative,
        autocorrelation=autocorrelation,
        window=min(max(window, SHORTEST_WINDOW), LONGEST_WINDOW),
        runs=len(measured),
    ), ""


def _log_losses(history: GroupHistory) -> NDArray[np.float64] | None:
    losses = np.where(np.isfinite(history.training_loss), history.training_loss, np.nan)
    if not np.any(losses <= 0):
        return np.asarray(np.log(losses))
    scale = history.scale()
    if scale is None:
        return None
    regrets = np.where(np.isnan(losses), np.nan, regret(losses, scale))
    return np.asarray(np.log(np.maximum(regrets, 0.0) + REGRET_FLOOR))


def _noise_of_run(positions: NDArray[np.float64], losses: NDArray[np.float64]) -> tuple[float, float, float]:
    segments = min(max(len(losses) // SEGMENT_POINTS, 1), MOST_SEGMENTS)
    residuals = [_without_trend(part) for part in np.array_split(losses, segments)]
    noise = np.concatenate(residuals)
    relative = _MAD_TO_SD * float(np.median(np.abs(noise - np.median(noise))))
    # Spikes would pass for independence.
    clipped = [np.clip(part, -3 * relative, 3 * relative) for part in residuals]
    variance = sum(float(part @ part) for part in clipped)
    covariance = sum(float(part[1:] @ part[:-1]) for part in clipped)
    autocorrelation = covariance / variance if variance > 0 else 0.0
    span = float(np.ptp(positions))
    points_in_run = len(losses) / span if span > 0 else float(len(losses))
    persistence = min(max(autocorrelation, 0.0), 0.95)
    window = relative**2 * (1 + persistence) / (1 - persistence) / (points_in_run * AVERAGED_NOISE**2)
    return relative, autocorrelation, window if math.isfinite(window) else LONGEST_WINDOW


def _without_trend(values: NDArray[np.float64]) -> NDArray[np.float64]:
    steps = np.arange(len(values)) - (len(values) - 1) / 2
    slope = float(steps @ values) / float(steps @ steps)
    return np.asarray(values - values.mean() - slope * steps)
