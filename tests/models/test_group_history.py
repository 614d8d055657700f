import math
from typing import Any

import numpy as np
import pytest

from models.group_history import GroupHistory


def history(**columns: Any) -> GroupHistory:
    """Two runs of three points each, the second diverged; columns given replace these."""
    nothing = [math.nan] * 6
    usual: dict[str, Any] = {
        "run_id": ["a", "b"],
        "starting_rate": [0.1, 1.0],
        "schedule": ["cosine", ""],
        "rate_source": ["logged", "unknown"],
        "final_loss": [0.5, math.nan],
        "diverged": [False, False],
        "planned_steps": [100, math.nan],
        "run_index": [1, 0, 0, 0, 1, 1],
        "position": [0.0, 1.0, 0.0, 0.5, 0.5, 1.0],
        "training_loss": [2.0, 0.5, 2.5, 1.0, 9.0, math.inf],
        "learning_rate": nothing,
    }
    return GroupHistory(**{name: np.array(values) for name, values in {**usual, **columns}.items()})


def test_an_assumed_rate_is_known_at_its_start_only() -> None:
    found = history(rate_source=["rebuilt", "assumed constant"])
    assert found.has_rate.tolist() == [True, True]
    assert found.has_rate_path.tolist() == [True, False]
    assert found.runs_by_rate_source() == {"logged": 0, "rebuilt": 1, "assumed constant": 1, "unknown": 0}


def test_a_rate_source_that_is_none_is_refused() -> None:
    with pytest.raises(
        ValueError, match=r"rate_source must be one of logged, .* got 'guessed'; describe the runs again"
    ):
        history(rate_source=["logged", "guessed"])


def test_points_are_ordered_by_run_and_position() -> None:
    runs = dict(history().points())
    assert history().training_loss[runs[0]].tolist() == [2.5, 1.0, 0.5]
    assert history().training_loss[runs[1]].tolist() == [2.0, 9.0, math.inf]


def test_a_run_without_points_yields_none() -> None:
    empty: dict[str, Any] = {name: [] for name in ("run_index", "position", "training_loss", "learning_rate")}
    assert list(history(**empty).points()) == []


def test_a_final_loss_that_is_not_finite_is_a_divergence() -> None:
    assert history().lost.tolist() == [False, True]


def test_the_scale_goes_from_the_initial_loss_to_the_best_final_loss() -> None:
    scale = history().scale()
    assert scale is not None
    assert (scale.reference, scale.naive) == (0.5, 2.25)
    assert history().final_regret() == pytest.approx([0.0, 1.0])


def test_a_training_loss_that_is_no_measure_of_the_final_loss_gives_way_to_the_worst_final_loss() -> None:
    scale = history(final_loss=[10.0, 30.0]).scale()
    assert scale is not None
    assert (scale.reference, scale.naive) == (10.0, 30.0)


def test_without_survivors_or_differences_there_is_no_scale() -> None:
    assert history(diverged=[True, True]).scale() is None
    assert history(final_loss=[3.0, 3.0]).scale() is None
    assert history(final_loss=[3.0, 3.0]).final_regret() is None


def test_columns_of_different_lengths_are_refused_with_the_difference() -> None:
    with pytest.raises(ValueError, match=r"expected \(2,\) \(run_id\), received final_loss \(3,\)"):
        history(final_loss=[0.1, 0.2, 0.3])


def test_points_of_no_run_are_refused() -> None:
    with pytest.raises(ValueError, match="run_index must point at one of the 2 runs, got 2"):
        history(run_index=[0, 0, 0, 1, 1, 2])


@pytest.mark.parametrize("position", [-0.1, 1.5, math.nan])
def test_a_position_outside_of_the_run_is_refused(position: float) -> None:
    with pytest.raises(ValueError, match=r"position must be a share of the run in \[0, 1\]"):
        history(position=[0.0, 0.5, 1.0, 0.0, 0.5, position])
