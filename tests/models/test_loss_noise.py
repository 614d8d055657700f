import numpy as np
import pytest
from numpy.typing import NDArray

from models.group_history import GroupHistory
from models.loss_noise import LONGEST_WINDOW, SHORTEST_WINDOW, loss_noise

POINTS = 1000
POSITION = np.linspace(0.0, 1.0, POINTS)


def history(curves: list[NDArray[np.float64]], diverged: bool = False) -> GroupHistory:
    """Runs with these training losses at even positions."""
    count, points = len(curves), len(curves[0])
    return GroupHistory(
        run_id=np.array([f"run{place}" for place in range(count)]),
        starting_rate=np.full(count, np.nan),
        schedule=np.full(count, ""),
        rate_source=np.full(count, "unknown"),
        final_loss=np.array([curve[-1] for curve in curves]),
        diverged=np.full(count, diverged),
        planned_steps=np.full(count, np.nan),
        run_index=np.repeat(np.arange(count), points),
        position=np.tile(np.linspace(0.0, 1.0, points), count),
        training_loss=np.concatenate(curves),
        learning_rate=np.full(count * points, np.nan),
    )


def autoregressive(persistence: float, seed: int) -> NDArray[np.float64]:
    """AR(1) of standard deviation 1, (1000,)."""
    innovations = np.random.default_rng(seed).normal(size=POINTS + 200)
    values = np.zeros(POINTS + 200)
    for place in range(1, len(values)):
        values[place] = persistence * values[place - 1] + innovations[place] * np.sqrt(1 - persistence**2)
    return values[200:]


def noisy_runs(spread: float, persistence: float = 0.0) -> list[NDArray[np.float64]]:
    trend = 0.1 + 2.0 * np.exp(-3.0 * POSITION)
    return [trend * np.exp(spread * autoregressive(persistence, seed)) for seed in range(4)]


@pytest.mark.parametrize(("spread", "persistence"), [(0.05, 0.0), (0.3, 0.0), (0.2, 0.6)])
def test_noise_about_a_falling_trend_is_measured(spread: float, persistence: float) -> None:
    noise, reason = loss_noise(history(noisy_runs(spread, persistence)))
    assert reason == ""
    assert noise is not None
    assert noise.relative == pytest.approx(spread, rel=0.12)
    assert noise.autocorrelation == pytest.approx(persistence, abs=0.08)
    assert noise.runs == 4


def test_noisier_losses_need_longer_windows_within_the_measured_range() -> None:
    windows = []
    for spread in (0.01, 0.38, 1.0):
        noise, _ = loss_noise(history(noisy_runs(spread)))
        assert noise is not None
        windows.append(noise.window)
    assert (windows[0], windows[2]) == (SHORTEST_WINDOW, LONGEST_WINDOW) == (0.06, 0.12)
    # 0.38^2 / (1000 x 0.04^2) = 0.09
    assert windows[1] == pytest.approx(0.09, abs=0.015)


def test_losses_that_reach_zero_or_below_are_turned_into_regret() -> None:
    shifted = [curve - 0.5 for curve in noisy_runs(0.02)]
    assert min(curve.min() for curve in shifted) < 0
    noise, reason = loss_noise(history(shifted))
    assert reason == ""
    assert noise is not None
    assert 0.0 < noise.relative < 0.3


def test_the_noise_does_not_depend_on_the_unit_of_the_loss() -> None:
    one, _ = loss_noise(history(noisy_runs(0.1)))
    other, _ = loss_noise(history([1000.0 * curve for curve in noisy_runs(0.1)]))
    assert one is not None
    assert other is not None
    assert one.relative == pytest.approx(other.relative)


@pytest.mark.parametrize(
    ("curves", "diverged", "said"),
    [
        ([np.full(100, 0.7)], False, "no run survived with at least 10 different losses"),
        ([np.linspace(2.0, 1.0, 8)], False, "no run survived with at least 10 different losses"),
        (noisy_runs(0.1), True, "no run survived"),
        ([np.full(100, np.nan)], False, "no run survived"),
        ([np.full(100, -0.7)], False, "zero or negative and no scale of regret"),
    ],
)
def test_noise_that_cannot_be_known_is_said_to_be_unknown(
    curves: list[NDArray[np.float64]], diverged: bool, said: str
) -> None:
    noise, reason = loss_noise(history(curves, diverged))
    assert noise is None
    assert said in reason
