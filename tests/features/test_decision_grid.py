import math

import numpy as np
import polars as pl
import pytest
from polars.testing import assert_frame_equal

import features.decision_grid
from features.decision_grid import GRID_COLUMNS, decision_grid
from tests.features.curves import curve, planned

LN2 = math.log(2.0)


def test_run_has_forty_intervals_of_its_plan() -> None:
    grid = decision_grid(curve([1.0] * 400), planned(400))
    assert len(grid) == 40
    assert grid["points"].to_list() == [10] * 40
    assert grid["intervals"].unique().to_list() == [40]


def test_run_of_fewer_steps_than_forty_has_an_interval_a_step() -> None:
    grid = decision_grid(curve([1.0] * 12), planned(12))
    assert grid["interval"].to_list() == list(range(12))
    assert grid["intervals"].unique().to_list() == [12]


def test_table_has_its_declared_columns() -> None:
    assert dict(decision_grid(curve([1.0]), planned(12)).schema) == {
        name: kind() for name, kind in GRID_COLUMNS.items()
    }


def test_loss_is_measured_by_the_median_of_the_first_interval() -> None:
    grid = decision_grid(curve([8.0, 4.0, 2.0, 2.0, 1.0, 1.0], steps=[0, 1, 2, 10, 11, 20]), planned(400))
    # Steps 0-9, 10-19, 20-29: medians 4, 1.5 (of ln: the mean of ln 2 and ln 1), 1.
    assert grid["log_loss"].to_list() == pytest.approx([0.0, (math.log(0.5) + math.log(0.25)) / 2, math.log(0.25)])


def test_losses_at_or_below_zero_are_measured_from_a_reference_below_them() -> None:
    grid = decision_grid(curve([3.0, 1.0, 0.0, -1.0]), planned(4, reference=-1.0))
    assert grid["log_loss"].to_list() == pytest.approx([0.0, math.log(0.5), math.log(0.25), math.log(1e-6)])


def test_run_that_begins_at_its_reference_has_no_unit() -> None:
    assert decision_grid(curve([0.0, 1.0]), planned(2))["log_loss"].to_list() == [None, None]


def test_run_without_training_loss_is_told_by_its_validation_loss() -> None:
    grid = decision_grid(curve([None, None], validation_loss=[4.0, 1.0]), planned(2))
    assert grid["log_loss"].to_list() == pytest.approx([0.0, math.log(0.25)])
    assert grid["points"].to_list() == [1, 1]


def test_validation_loss_tells_of_a_run_until_its_training_loss_is_logged() -> None:
    frame = curve([None, None, 5.0, 2.5], validation_loss=[8.0, 4.0, 2.0, 1.0])
    assert decision_grid(frame, planned(4))["log_loss"].to_list() == pytest.approx([0.0, -LN2, 0.0, -LN2])


def test_training_loss_that_was_never_finite_is_counted() -> None:
    grid = decision_grid(curve([math.nan, math.nan], validation_loss=[2.0, 1.0]), planned(2))
    assert grid["non_finite_points"].to_list() == [1, 1]
    assert grid["log_loss"].null_count() == 2


def test_losses_that_are_not_finite_are_counted_and_left_out() -> None:
    grid = decision_grid(curve([4.0, float("nan"), 2.0, float("inf")], steps=[0, 1, 10, 20]), planned(400))
    assert grid["points"].to_list() == [2, 1, 1]
    assert grid["non_finite_points"].to_list() == [1, 0, 1]
    assert grid["log_loss"].to_list() == pytest.approx([0.0, -LN2, None])


def test_interval_without_a_point_has_an_empty_row() -> None:
    grid = decision_grid(curve([2.0, 1.0], steps=[0, 30]), planned(400))
    assert grid["points"].to_list() == [1, 0, 0, 1]
    assert grid["log_loss"].to_list() == [0.0, None, None, pytest.approx(-LN2)]


def test_resumed_run_keeps_its_place_in_the_plan() -> None:
    grid = decision_grid(curve([2.0, 1.0], steps=[200, 210]), planned(400))
    assert grid["interval"].to_list() == list(range(22))
    assert grid["log_loss"].drop_nulls().to_list() == pytest.approx([0.0, -LN2])


def test_steps_beyond_the_plan_count_to_its_last_interval() -> None:
    assert decision_grid(curve([1.0] * 3, steps=[0, 9, 12]), planned(10))["points"].to_list()[-1] == 2


def test_rate_is_the_mean_of_an_interval() -> None:
    grid = decision_grid(
        curve([1.0] * 3, steps=[0, 1, 10], learning_rate=[0.1, 0.3, 0.1]), planned(400, starting_rate=0.3)
    )
    assert grid["rate"].to_list() == pytest.approx([0.2, 0.1])
    assert grid["starting_rate"].to_list() == [0.3, 0.3]


def test_run_without_a_plan_has_no_intervals() -> None:
    assert decision_grid(curve([1.0, 2.0]), planned(None)).is_empty()


def test_noise_is_that_of_white_noise_about_a_line() -> None:
    noise = np.random.default_rng(1).normal(scale=0.2, size=4000)
    grid = decision_grid(curve(list(np.exp(noise - np.arange(4000) / 1000))), planned(4000))
    assert grid["noise"].to_numpy()[5:] == pytest.approx(np.full(35, 0.2), rel=0.25)
    assert grid["autocorrelation"].mean() == pytest.approx(0.0, abs=0.05)


def test_autocorrelation_is_that_of_the_noise() -> None:
    generator = np.random.default_rng(2)
    noise = np.zeros(8000)
    for place in range(1, len(noise)):
        noise[place] = 0.8 * noise[place - 1] + generator.normal(scale=0.1)
    grid = decision_grid(curve(list(np.exp(noise))), planned(8000))
    assert grid["autocorrelation"].mean() == pytest.approx(0.8, abs=0.05)


def test_noise_needs_four_points() -> None:
    assert decision_grid(curve([1.0, 2.0, 1.0, 2.0]), planned(12))["noise"].to_list()[:3] == [None] * 3


def test_table_in_parts_is_the_table_in_one(monkeypatch: pytest.MonkeyPatch) -> None:
    generator = np.random.default_rng(3)
    names = [f"s/{number}" for number in range(9)]
    curves = pl.concat(
        curve(list(generator.uniform(1, 2, size=7 + number)), run_id=name) for number, name in enumerate(names)
    )
    plans = pl.concat(planned(20, run_id=name) for name in names)
    whole = decision_grid(curves, plans)
    for rows in (1, 10, 25, len(curves)):
        monkeypatch.setattr(features.decision_grid, "ROWS_AT_ONCE", rows)
        assert_frame_equal(decision_grid(curves, plans), whole)


def test_no_curves_give_no_rows() -> None:
    assert decision_grid(curve([]), planned(10)).is_empty()
