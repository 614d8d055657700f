import math

import numpy as np
import polars as pl
import pytest

from features.trajectories import POINT_COLUMNS, ROLE_COLUMNS, trajectories
from features.trials import is_trial, parent_run_id, with_trials

ROLES = {"loss": "training_loss", "val_loss": "validation_loss", "lr": "learning_rate"}


def found(**series):
    """The trajectories of run "a"; series by key as lists of (step, timestamp, value)."""
    rows = [("a", key, *point) for key, listed in series.items() for point in listed]
    roles = [("a", key, ROLES[key]) for key in series]
    return trajectories(
        pl.DataFrame(rows, schema=POINT_COLUMNS, orient="row"), pl.DataFrame(roles, schema=ROLE_COLUMNS, orient="row")
    )


def lengths(curves):
    return dict(curves.group_by("run_id", maintain_order=True).len().iter_rows())


def falling(length, first=2.0, last=0.1):
    return [float(value) for value in np.geomspace(first, last, length)]


def logged(*stretches, begin=0, spacing=1):
    """Stretches of values one after the other, one second a point; the steps of each start at `begin`."""
    points = []
    for values in stretches:
        points += [(begin + spacing * n, 1000 * (len(points) + n), value) for n, value in enumerate(values)]
    return points


def test_steps_that_begin_again_with_a_loss_that_starts_over_are_trials():
    curves = found(loss=logged(falling(60), falling(100, 1.8), falling(70, 2.2), falling(80)))
    assert lengths(curves) == {"a#1": 60, "a#2": 100, "a#3": 70, "a#4": 80}
    second = curves.filter(pl.col("run_id") == "a#2")
    assert second["step"].to_list() == second["position"].to_list() == list(range(100))
    assert second["training_loss"].to_list() == falling(100, 1.8)


def test_trials_that_a_pruner_cut_short_are_curves_too():
    curves = found(loss=logged(falling(60), falling(3, 2.0, 1.6), falling(70), falling(8, 2.1, 0.9), falling(60)))
    assert lengths(curves) == {"a#1": 60, "a#2": 3, "a#3": 70, "a#4": 8, "a#5": 60}


def test_a_trial_that_diverged_is_one_of_the_trials():
    curves = found(loss=logged(falling(30), [2.0, 8.0, 90.0, math.inf, math.nan, math.nan], falling(30), falling(30)))
    assert lengths(curves) == {"a#1": 30, "a#2": 6, "a#3": 30, "a#4": 30}


def test_a_summary_after_a_trial_is_no_trial():
    values = [falling(20), [0.1], falling(30), [0.1], falling(25), [0.1]]
    assert lengths(found(loss=logged(*values))) == {"a#1": 20, "a#2": 30, "a#3": 25}


def test_the_order_of_rows_does_not_matter_to_trials():
    points = logged(falling(60), falling(100), falling(70))
    shuffled = [points[n] for n in np.random.default_rng(0).permutation(len(points))]
    assert found(loss=shuffled).equals(found(loss=points))


def test_the_other_series_of_a_trial_go_with_it():
    training = logged(falling(20), falling(30), falling(25))
    # The rate comes just before the loss of its step, the validation loss just after it and every fifth step only.
    rates = [(step, timestamp - 5, 0.1) for step, timestamp, _ in training]
    validation = [(step, timestamp + 400, value + 1) for step, timestamp, value in training if step % 5 == 4]
    curves = found(loss=training, val_loss=validation, lr=rates)
    assert lengths(curves) == {"a#1": 20, "a#2": 30, "a#3": 25}
    assert curves["learning_rate"].null_count() == 0
    for trial, length in (("a#1", 20), ("a#2", 30), ("a#3", 25)):
        curve = curves.filter(pl.col("run_id") == trial)
        assert curve["validation_loss"].drop_nulls().to_list() == [v + 1 for v in falling(length)[4::5]]
        assert curve["training_loss"].to_list() == falling(length)


def test_a_series_that_does_not_begin_again_goes_to_the_trials_point_by_point():
    training = logged(falling(20), falling(30), falling(25))
    curves = found(loss=training, lr=[(trial, 1000 * start, rate) for trial, (start, rate) in enumerate(
        [(0, 0.1), (20, 0.2), (50, 0.3)]
    )])  # fmt: skip
    rates = curves.filter(pl.col("learning_rate").is_not_null()).select("run_id", "learning_rate")
    assert rates.rows() == [("a#1", 0.1), ("a#2", 0.2), ("a#3", 0.3)]


def test_a_resumption_is_no_trial_and_the_overlap_counts_once():
    whole = falling(60)
    # Resumed at step 20 after 40, and again at step 35 after 45.
    points = [(n, 1000 * n, whole[n]) for n in range(40)]
    points += [(n, 1000 * (n + 40), whole[n] + 0.01) for n in range(20, 45)]
    points += [(n, 1000 * (n + 80), whole[n] + 0.02) for n in range(35, 60)]
    curves = found(loss=points)
    assert lengths(curves) == {"a": 60}
    assert curves["training_loss"].to_list() == [
        *whole[:40],
        *(v + 0.01 for v in whole[40:45]),
        *(v + 0.02 for v in whole[45:]),
    ]


def test_one_restart_from_scratch_is_a_resumption_for_two_trainings_are_not_told_from_it():
    assert lengths(found(loss=logged(falling(40), falling(60)))) == {"a": 60}


def test_the_batches_of_an_epoch_are_counted_on_where_the_loss_goes_on():
    values = falling(100)
    epochs = [values[start : start + 10] for start in range(0, 100, 10)]
    curves = found(loss=logged(*epochs), lr=logged(*[[0.1] * 10 for _ in epochs]))
    assert lengths(curves) == {"a": 100}
    assert curves["step"].to_list() == list(range(100))
    assert curves["training_loss"].to_list() == values
    assert curves["learning_rate"].to_list() == [0.1] * 100


@pytest.mark.parametrize("seed", range(5))
def test_noise_without_a_trend_is_no_search(seed):
    noise = np.random.default_rng(seed).normal(1.0, 0.1, (8, 50))
    assert lengths(found(loss=logged(*noise.tolist()))) == {"a": 400}


def test_trials_are_told_through_noise_that_is_smaller_than_their_fall():
    noise = np.random.default_rng(0).normal(0.0, 0.1, (6, 60))
    assert len(lengths(found(loss=logged(*(noise + falling(60)).tolist())))) == 6


def test_steps_that_fall_back_here_and_there_are_no_trials():
    # Logged by two threads: neighbours come in the wrong order.
    points = [(n ^ 1, 1000 * n, 2.0 - n / 100) for n in range(60)]
    assert lengths(found(loss=points)) == {"a": 60}
    assert found(loss=points)["step"].to_list() == list(range(60))


def test_first_steps_above_zero_begin_trials_too():
    curves = found(loss=logged(falling(60), falling(50), falling(40), begin=10, spacing=10))
    assert lengths(curves) == {"a#1": 60, "a#2": 50, "a#3": 40}
    assert curves.filter(pl.col("run_id") == "a#3")["step"].to_list() == list(range(10, 410, 10))


def test_a_validation_loss_in_cycles_makes_no_trials_of_a_training_loss_that_goes_on():
    training = [(n, 1000 * n, value) for n, value in enumerate(falling(100))]
    # Each pass over the validation data begins with its hardest batch.
    passes = [(n % 10, 1000 * n + 100, 2.0 - (n % 10) / 10) for n in range(100)]
    curves = found(loss=training, val_loss=passes)
    assert lengths(curves) == {"a": 100}
    assert curves["training_loss"].to_list() == falling(100)


def test_where_no_training_loss_is_logged_the_validation_loss_shows_the_trials():
    assert lengths(found(val_loss=logged(falling(60), falling(50), falling(40)))) == {"a#1": 60, "a#2": 50, "a#3": 40}


def test_runs_beside_a_search_stay_as_they_are():
    search = [("a", "loss", *point) for point in logged(falling(20), falling(30), falling(25))]
    plain = [(run, "loss", *point) for run in "0b" for point in logged(falling(20))]
    points = pl.DataFrame(search + plain, schema=POINT_COLUMNS, orient="row")
    roles = points.select("run_id", "key").unique().with_columns(role=pl.lit("training_loss"))
    curves = trajectories(points, roles)
    assert lengths(curves) == {"0": 20, "a#1": 20, "a#2": 30, "a#3": 25, "b": 20}
    assert curves["run_id"].is_sorted()


def test_a_curve_knows_its_run():
    curves = pl.DataFrame({"run_id": ["store/ab12", "store/ab12#3", "store/ab12#10"]})
    assert curves.select(parent_run_id(pl.col("run_id")))["run_id"].to_list() == ["store/ab12"] * 3
    assert curves.select(is_trial(pl.col("run_id")))["run_id"].to_list() == [False, True, True]


def test_a_trial_has_the_row_of_its_run_but_its_end_is_unknown():
    runs = pl.DataFrame({"run_id": ["a", "b"], "experiment_name": ["x", "y"], "status": ["FAILED", "FINISHED"]})
    curves = pl.DataFrame({"run_id": ["b#1", "b#2", "a", "b#1"]})
    assert with_trials(runs, curves).rows() == [
        ("a", "x", "FAILED"),
        ("b", "y", "FINISHED"),
        ("b#1", "y", None),
        ("b#2", "y", None),
    ]
    assert with_trials(runs, curves.filter(pl.col("run_id") == "a")).equals(runs)
