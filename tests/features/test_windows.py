import math

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from features.windows import lag_correlation, line_residual, scaled_deviation, trailing_slope

VALUE = pl.col("value")


def of(values: list[float | None], expression: pl.Expr) -> list[float | None]:
    return (
        pl.DataFrame({"value": values, "at": range(len(values))}, strict=False)
        .select(expression.alias("x"))["x"]
        .to_list()
    )


def test_line_residual_is_what_a_least_squares_line_leaves() -> None:
    # The line through (0, 1), (1, 2), (2, 6) is 0.5 + 2.5 x.
    assert of([1.0, 2.0, 6.0], line_residual(VALUE, pl.col("at"))) == pytest.approx([0.5, -1.0, 0.5])


def test_line_residual_at_a_single_place_is_the_distance_to_the_mean() -> None:
    assert of([1.0, 3.0], line_residual(VALUE, pl.col("at") * 0)) == [-1.0, 1.0]


def test_scaled_deviation_is_that_of_the_median_and_not_moved_by_an_outlier() -> None:
    assert of([1.0, 2.0, 3.0, 4.0, 1000.0], scaled_deviation(VALUE)) == [pytest.approx(1.4826)]


def test_scaled_deviation_of_normal_noise_is_its_standard_deviation() -> None:
    noise = np.random.default_rng(0).normal(scale=0.3, size=20_000)
    assert of(list(noise), scaled_deviation(VALUE))[0] == pytest.approx(0.3, rel=0.02)


def test_lag_correlation_of_alternating_values_is_minus_one() -> None:
    assert of([1.0, -1.0, 1.0, -1.0, 1.0], lag_correlation(VALUE)) == [pytest.approx(-1.0)]


def test_lag_correlation_of_rounding_errors_is_unknown() -> None:
    assert of([1e-16, -1e-16, 1e-16, -1e-16], lag_correlation(VALUE)) == [None]


def test_trailing_slope_is_the_median_of_the_slopes_of_pairs() -> None:
    # Of 0, 1, 2, 3, 100 four intervals from the last: six pairs have slope 1, four more than 1, so the median is 1.
    slopes = of([0.0, 1.0, 2.0, 3.0, 100.0], trailing_slope(VALUE, pl.lit(1.0)))
    assert slopes == [None, 1.0, 1.0, 1.0, 1.0]


def test_trailing_slope_is_per_unit_of_the_spacing() -> None:
    assert of([0.0, 1.0], trailing_slope(VALUE, pl.lit(0.1)))[-1] == pytest.approx(10.0)


def test_trailing_slope_leaves_out_intervals_without_a_value_and_those_six_back() -> None:
    slopes = of([50.0, 0.0, None, 4.0, None, 8.0], trailing_slope(VALUE, pl.lit(1.0)))
    assert slopes[-1] == 2.0
    assert slopes[3] == 2.0 or slopes[3] == pytest.approx(np.median([-50.0, 2.0, -46 / 3]))


@given(st.lists(st.floats(-1e3, 1e3), min_size=5, max_size=5))
def test_trailing_slope_is_scipys_theil_sen(values: list[float]) -> None:
    expected = stats.theilslopes(values, np.arange(5.0)).slope
    slope = of(list(values), trailing_slope(VALUE, pl.lit(1.0)))[-1]
    assert slope is not None
    assert math.isclose(slope, expected, rel_tol=1e-9, abs_tol=1e-9)
