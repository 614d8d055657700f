import math
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from features.plateau_replay import Plateau, replay


def plateau(**numbers: Any) -> Plateau:
    usual: dict[str, Any] = {
        "rate": 1.0,
        "factor": 0.5,
        "patience": 1,
        "threshold": 1e-4,
        "cooldown": 0,
        "low": 0.0,
        "absolute": False,
        "program": "torch",
    }
    return Plateau(**usual | numbers)


@given(
    losses=st.lists(
        st.sampled_from([1.0, 0.999, 0.99, 0.9, 0.8999, 0.5, 2.0, math.nan, math.inf, 0.0]), min_size=1, max_size=60
    ),
    factor=st.sampled_from([0.1, 0.5, 0.9]),
    patience=st.integers(0, 4),
    threshold=st.sampled_from([0.0, 1e-4, 0.01]),
    cooldown=st.integers(0, 3),
    low=st.sampled_from([0.0, 0.01, 0.3]),
    absolute=st.booleans(),
)
def test_the_replay_gives_the_rates_of_a_real_scheduler_of_torch(
    losses: list[float], factor: float, patience: int, threshold: float, cooldown: int, low: float, absolute: bool
) -> None:
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    scheduler = torch.optim.lr_scheduler.ReduceLROnPlateau(
        optimizer,
        factor=factor,
        patience=patience,
        threshold=threshold,
        threshold_mode="abs" if absolute else "rel",
        cooldown=cooldown,
        min_lr=low,
    )
    expected = []
    for loss in losses:
        expected.append(optimizer.param_groups[0]["lr"])
        scheduler.step(loss)
    settings = plateau(
        factor=factor, patience=patience, threshold=threshold, cooldown=cooldown, low=low, absolute=absolute
    )
    assert replay(settings, losses) == pytest.approx(expected, rel=1e-12)


def test_torch_waits_one_bad_epoch_longer_than_keras() -> None:
    losses = [1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0]
    assert replay(plateau(patience=2), losses) == [1, 1, 1, 1, 0.5, 0.5, 0.5]
    assert replay(plateau(patience=2, program="keras"), losses) == [1, 1, 1, 0.5, 0.5, 0.25, 0.25]


def test_keras_counts_no_bad_epoch_while_it_cools_down_and_stops_at_its_lowest_rate() -> None:
    losses = [1.0] * 9
    cooled = plateau(patience=1, cooldown=2, program="keras")
    assert replay(cooled, losses) == [1, 1, 0.5, 0.5, 0.25, 0.25, 0.125, 0.125, 0.0625]
    assert replay(plateau(patience=1, low=0.4, program="keras"), losses) == [1, 1, 0.5] + [0.4] * 6


def test_a_gain_below_the_threshold_is_none() -> None:
    losses = [1.0, 0.995, 0.991, 0.98]
    assert replay(plateau(patience=0, threshold=0.01), losses) == [1, 1, 0.5, 0.25]
    assert replay(plateau(patience=0, threshold=0.001), losses) == [1, 1, 1, 1]
