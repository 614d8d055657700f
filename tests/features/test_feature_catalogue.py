import math
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from features.decision_grid import decision_grid
from features.feature_catalogue import FEATURES, feature_table, with_features
from tests.features.curves import curve, planned

LN2 = math.log(2.0)
NAN = float("nan")
LOSSES = st.one_of(st.floats(1e-3, 1e3), st.sampled_from([NAN, math.inf, None]))
RATES = st.one_of(st.floats(1e-6, 10.0), st.sampled_from([0.0, NAN, None]))


def feature(name: str, frame: pl.DataFrame, plan: int, starting_rate: float | None = None) -> list[float | None]:
    return with_features(decision_grid(frame, planned(plan, starting_rate=starting_rate)))[name].to_list()


def test_progress_is_the_share_of_the_plan_that_is_over() -> None:
    assert feature("progress", curve([1.0] * 3), 12) == pytest.approx([1 / 12, 2 / 12, 3 / 12])


def test_relative_loss_repeats_what_was_last_seen() -> None:
    assert feature("relative_loss", curve([4.0, NAN, 2.0]), 12) == pytest.approx([0.0, 0.0, -LN2])


def test_loss_slope_is_in_nats_a_run() -> None:
    assert feature("loss_slope", curve([8.0, 4.0, 2.0]), 12) == [
        None,
        pytest.approx(-12 * LN2),
        pytest.approx(-12 * LN2),
    ]


def test_loss_noise_is_one_deviation_about_a_line() -> None:
    # Residuals of ln(1, e, 1, e) about its line, 0.2 + 0.2 x: -0.2, 0.6, -0.6, 0.2; they deviate by 0.4 in the median.
    assert feature("loss_noise", curve([1.0, math.e, 1.0, math.e]), 12)[-1] == pytest.approx(1.4826 * 0.4)


def test_loss_autocorrelation_of_a_zigzag_is_negative() -> None:
    assert feature("loss_autocorrelation", curve([1.0, 2.0] * 6), 12)[-1] == pytest.approx(-1.0, abs=0.2)


def test_distance_to_best_is_zero_at_the_best() -> None:
    assert feature("distance_to_best", curve([4.0, 2.0, 8.0, 1.0]), 12) == pytest.approx([0.0, 0.0, math.log(4.0), 0.0])


def test_plateau_lasts_until_the_best_is_beaten_by_more_than_a_thousandth() -> None:
    losses = [4.0, 2.0, 3.0, 2.0 * math.exp(-0.0009), 1.9]
    assert feature("plateau_length", curve(losses), 10) == pytest.approx([0.0, 0.0, 0.1, 0.2, 0.0])


def test_non_finite_share_counts_all_points_so_far() -> None:
    assert feature("non_finite_share", curve([1.0, NAN, 1.0, math.inf]), 12) == pytest.approx(
        [0.0, 1 / 2, 1 / 3, 1 / 2]
    )


def test_validation_gap_is_that_of_the_two_losses_each_from_its_own_beginning() -> None:
    frame = curve([4.0, 1.0, 1.0], validation_loss=[None, 6.0, 3.0])
    assert feature("validation_gap", frame, 12) == [None, pytest.approx(math.log(4.0)), pytest.approx(LN2)]


def test_validation_gap_of_a_run_without_training_loss_is_unknown() -> None:
    assert feature("validation_gap", curve([None, None], validation_loss=[6.0, 3.0]), 12) == [None, None]


def test_relative_rate_is_measured_by_the_starting_rate() -> None:
    frame = curve([1.0] * 3, learning_rate=[0.2, 0.1, None])
    assert feature("relative_rate", frame, 12, starting_rate=0.2) == pytest.approx([0.0, -LN2, -LN2])


def test_rate_below_peak_is_zero_while_the_rate_rises() -> None:
    assert feature("rate_below_peak", curve([1.0] * 3, learning_rate=[0.1, 0.4, 0.2]), 12) == pytest.approx(
        [0.0, 0.0, LN2]
    )


def test_rate_travelled_adds_rises_and_falls() -> None:
    rates = [None, 0.1, 0.2, 0.0, 0.1]
    travelled = feature("rate_travelled", curve([1.0] * 5, learning_rate=rates), 12)
    assert travelled[:2] == [None, 0.0]
    assert travelled[2:] == pytest.approx([LN2, LN2, 2 * LN2])


def test_since_rate_moved_begins_anew_with_a_move_of_more_than_a_hundredth() -> None:
    rates = [0.1, 0.1, 0.1005, 0.05, 0.05]
    assert feature("since_rate_moved", curve([1.0] * 5, learning_rate=rates), 10) == pytest.approx(
        [0, 0.1, 0.2, 0, 0.1]
    )


def test_run_of_one_point_has_features() -> None:
    row = with_features(decision_grid(curve([1.0]), planned(12))).row(0, named=True)
    assert (row["relative_loss"], row["plateau_length"], row["loss_slope"]) == (0.0, 0.0, None)


def test_features_of_a_million_points_are_those_of_its_intervals() -> None:
    steps = np.arange(1_000_000)
    frame = pl.DataFrame({"step": steps}).select(
        run_id=pl.lit("s/a"),
        position="step",
        step="step",
        progress=pl.lit(None, pl.Float64),
        training_loss=(-pl.col("step") / 250_000).exp(),
        validation_loss=pl.lit(None, pl.Float64),
        learning_rate=pl.lit(0.1),
    )
    found = with_features(decision_grid(frame, planned(1_000_000, starting_rate=0.1)))
    assert found["loss_slope"].to_numpy()[1:] == pytest.approx(np.full(39, -4.0))
    assert found["loss_noise"].max() == pytest.approx(0.0, abs=1e-9)
    assert found["rate_travelled"].to_list() == [0.0] * 40


@settings(deadline=None)
@given(st.lists(st.tuples(LOSSES, LOSSES, RATES), min_size=1, max_size=30), st.data())
def test_what_comes_later_changes_nothing(points: list[tuple[float | None, ...]], data: st.DataObject) -> None:
    steps = sorted(data.draw(st.sets(st.integers(0, 99), min_size=len(points), max_size=len(points))))
    training, validation, rates = (list(column) for column in zip(*points, strict=True))
    cut = data.draw(st.integers(1, len(points)))
    plan = planned(data.draw(st.sampled_from([100, 12])), starting_rate=0.1)
    whole = curve(training, steps=steps, validation_loss=validation, learning_rate=rates)
    before = with_features(decision_grid(whole.head(cut), plan))
    after = with_features(decision_grid(whole, plan))
    # The interval of the cut itself may have got more points since.
    closed = before.height - 1
    # Logarithms of the same number differ in their last digit with the length of the column.
    assert_frame_equal(before.head(closed), after.head(closed), rel_tol=1e-9, abs_tol=1e-9)


@settings(deadline=None)
@given(st.lists(st.floats(1e-2, 1e2), min_size=1, max_size=30), st.sampled_from([0.125, 4.0, 1024.0]))
def test_another_unit_of_the_loss_changes_nothing(losses: list[float], unit: float) -> None:
    plan = planned(30)
    found = with_features(decision_grid(curve(losses), plan))
    scaled = with_features(decision_grid(curve([loss * unit for loss in losses]), plan))
    assert_frame_equal(scaled, found)


def test_every_feature_stays_in_its_range() -> None:
    generator = np.random.default_rng(4)
    losses = [float(loss) if loss < 5 else NAN for loss in generator.exponential(2.0, size=200)]
    rates = list(generator.uniform(0, 1, size=200))
    found = with_features(decision_grid(curve(losses, learning_rate=rates), planned(200, starting_rate=0.5)))
    bounds = {"(0, 1]": (0, 1), "[0, 1]": (0, 1), "[0, 1)": (0, 1), "[-1, 1]": (-1, 1), "[0, inf)": (0, math.inf)}
    for one in FEATURES:
        low, high = bounds.get(one.range, (-math.inf, math.inf))
        assert found[one.name].is_between(low, high).drop_nulls().all(), one.name


def test_page_of_features_is_made_from_the_code() -> None:
    page = (Path(__file__).parents[2] / "docs/features.md").read_text(encoding="utf-8")
    assert feature_table() in page
