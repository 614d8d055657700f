import math

import polars as pl
import pytest

from features.schedule_shapes import schedule_shapes


def shape_of(rates, planned=None, first_step=0):
    frame = pl.DataFrame(
        {
            "run_id": ["a"] * len(rates),
            "step": [first_step + number for number in range(len(rates))],
            "learning_rate": [float(rate) for rate in rates],
            "planned_steps": pl.Series([planned] * len(rates), dtype=pl.Int64),
        }
    )
    [row] = schedule_shapes(frame).rows(named=True)
    return row["shape"], row["logged_start"]


def cosine(step, steps, floor=0.0):
    return floor + (0.1 - floor) * (1 + math.cos(math.pi * step / steps)) / 2


def test_constant():
    assert shape_of([0.1] * 20) == ("constant", 0.1)


def test_linear():
    assert shape_of([0.1 * (1 - step / 50) for step in range(50)]) == ("linear", 0.1)


def test_cosine_to_zero_and_to_a_floor():
    assert shape_of([cosine(step, 50) for step in range(50)]) == ("cosine", 0.1)
    assert shape_of([cosine(step, 50, floor=0.01) for step in range(50)]) == ("cosine", 0.1)


def test_cosine_that_was_killed_halfway_is_recognised_by_its_plan():
    rates = [cosine(step, 100) for step in range(49)]
    assert shape_of(rates, planned=100) == ("cosine", 0.1)
    assert shape_of(rates)[0] != "cosine"


def test_cosine_that_was_resumed_is_recognised_by_its_plan_but_not_its_start():
    middle = [cosine(step, 100) for step in range(46, 56)]
    assert shape_of(middle, planned=100, first_step=46) == ("cosine", None)


def test_a_constant_rate_starts_where_it_is_wherever_it_was_resumed():
    assert shape_of([0.1] * 10, first_step=46) == ("constant", 0.1)


def test_a_warm_up_that_is_seen_whole_tells_the_start_of_what_was_resumed():
    rates = [0.01, 0.04, 0.07, *(0.1 * (1 - step / 20) for step in range(20))]
    assert shape_of(rates, first_step=46)[1] == 0.1


def test_steps():
    assert shape_of([0.1] * 10 + [0.01] * 10 + [0.001] * 10) == ("step", 0.1)


@pytest.mark.parametrize("decay", ["cosine", "linear", "constant"])
def test_a_warm_up_is_left_out_and_the_peak_is_the_start(decay):
    warm_up = [0.1 * step / 5 for step in range(5)]
    after = {
        "cosine": [cosine(step, 45) for step in range(45)],
        "linear": [0.1 * (1 - step / 45) for step in range(45)],
        "constant": [0.1] * 45,
    }[decay]
    shape, start = shape_of([*warm_up, *after])
    assert (shape, start) == (decay, pytest.approx(0.1))


def test_a_rate_that_rises_to_the_end_has_no_warm_up():
    assert shape_of([0.001 * 1.1**step for step in range(30)]) == ("other", 0.001)


def test_something_else():
    assert shape_of([0.1, 0.05, 0.2, 0.01, 0.3, 0.1, 0.02, 0.07, 0.11, 0.013])[0] == "other"


def test_too_few_points_have_no_shape_but_a_start():
    assert shape_of([0.0, 0.1, 0.1]) == (None, 0.1)


def test_what_is_not_finite_is_left_out():
    assert shape_of([math.nan, 0.1, 0.1, math.inf, 0.1, 0.1, 0.1, -1.0]) == ("constant", 0.1)


def test_a_rate_of_zero_throughout_has_no_start():
    assert shape_of([0.0] * 10)[1] is None
