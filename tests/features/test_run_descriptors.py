import math

import polars as pl
import pytest

from features.run_descriptors import DESCRIPTOR_COLUMNS, RUN_COLUMNS, run_descriptors
from features.trajectories import TRAJECTORY_COLUMNS


def described(training=(), validation=(), rates=(), steps=None, params=(), status="FINISHED", points=100):
    """The row of one run whose three series start together."""
    length = max(len(training), len(validation), len(rates))
    columns = {
        "run_id": ["a"] * length,
        "position": list(range(length)),
        "step": list(steps or range(length)),
        "progress": [None] * length,
        "training_loss": [*training, *[None] * (length - len(training))],
        "validation_loss": [*validation, *[None] * (length - len(validation))],
        "learning_rate": [*rates, *[None] * (length - len(rates))],
    }
    found = run_descriptors(
        pl.DataFrame([("a", status, points)], schema=RUN_COLUMNS, orient="row"),
        pl.DataFrame(
            [("a", key, value) for key, value in dict(params).items()],
            schema={"run_id": pl.String, "key": pl.String, "value": pl.String},
            orient="row",
        ),
        pl.DataFrame(columns, schema=TRAJECTORY_COLUMNS),
    )
    assert dict(found.schema) == DESCRIPTOR_COLUMNS
    return found.row(0, named=True)


def falling(length, first=2.0):
    return [first - step / length for step in range(length)]


def test_a_run_is_described_whole():
    assert described(
        training=falling(20),
        validation=falling(20, first=3.0),
        params={"optimizer": "SGD", "lr": "0.1", "scheduler": "cosine", "epochs": "25"},
        status="FAILED",
    ) == {
        "run_id": "a",
        "usable": True,
        "reason": None,
        "optimizer": "sgd",
        "starting_rate": 0.1,
        "schedule": "cosine",
        "diverged": False,
        "final_loss": pytest.approx(3.0 - 19 / 20),
        "planned_steps": 25,
        "first_step": 0,
    }


@pytest.mark.parametrize(
    ("curves", "reason"),
    [
        ({"points": 0}, "no metrics"),
        ({"points": 7}, "no loss series"),
        ({"rates": [0.1] * 20}, "no loss series"),
        ({"training": falling(9)}, "fewer than 10 points"),
        ({"training": [1.0] * 20}, "constant loss"),
        ({"training": falling(10)}, None),
        ({"validation": falling(10)}, None),
        ({"training": [1.0] * 20, "validation": falling(10)}, None),
        ({"training": [1.0] * 4 + [math.nan] * 6}, None),
    ],
)
def test_what_makes_a_run_usable(curves, reason):
    found = described(**curves)
    assert (found["usable"], found["reason"]) == (reason is None, reason)


@pytest.mark.parametrize("status", ["FAILED", "KILLED", "RUNNING"])
def test_a_run_that_did_not_finish_is_usable(status):
    assert described(training=falling(20), status=status)["usable"]


@pytest.mark.parametrize(
    ("training", "validation", "diverged"),
    [
        (falling(40), [], False),
        ([*falling(20), *[math.nan] * 5], [], True),
        ([*falling(39), math.inf], [], True),
        ([*falling(10), math.nan, *falling(30)], [], False),
        ([2.0] * 20 + [3.1] * 20, [], True),
        ([2.0] * 20 + [2.9] * 20, [], False),
        ([-2.0] * 20 + [-0.9] * 20, [], True),
        ([-2.0] * 20 + [-1.1] * 20, [], False),
        (falling(40), [1.0] * 20 + [9.0] * 20, False),
        ([], [1.0] * 20 + [9.0] * 20, False),
        ([], [1.0] * 20 + [math.nan] * 20, True),
    ],
)
def test_when_a_run_has_diverged(training, validation, diverged):
    assert described(training=training, validation=validation)["diverged"] is diverged


def test_the_final_loss_is_the_median_of_the_last_twentieth():
    training = [5.0] * 57 + [1.0, 9.0, 2.0]
    assert described(training=training)["final_loss"] == 2.0
    assert described(training=training, validation=[3.0, 3.0, 3.0, 3.0])["final_loss"] == 2.0
    assert described(training=training, validation=[3.0, 3.0, 3.0, 3.0, 4.0])["final_loss"] == 4.0


def test_a_loss_that_ends_not_finite_has_no_final_value():
    assert described(training=[*falling(20), math.nan])["final_loss"] is None


@pytest.mark.parametrize(
    ("rates", "params", "expected"),
    [
        ([], {"lr": "0.5"}, 0.5),
        ([0.1] * 10, {"lr": "0.5"}, 0.5),
        ([0.1] * 10, {}, 0.1),
        ([0.1] * 10, {"lr": "0"}, 0.1),
        ([0.0, 0.05, 0.1, *[0.1] * 10], {}, 0.1),
        ([], {}, None),
    ],
)
def test_the_starting_rate_is_declared_or_logged(rates, params, expected):
    assert described(training=falling(20), rates=rates, params=params)["starting_rate"] == expected


def test_the_schedule_is_declared_or_recognised():
    rates = [0.1 * (1 - step / 20) for step in range(20)]
    assert described(training=falling(20), rates=rates)["schedule"] == "linear"
    assert described(training=falling(20), rates=rates, params={"scheduler": "Poly"})["schedule"] == "polynomial"
    assert described(training=falling(20))["schedule"] is None


@pytest.mark.parametrize(
    ("params", "status", "steps", "expected"),
    [
        ({"total_steps": "500"}, "FAILED", range(0, 300, 10), 500),
        ({"epochs": "40"}, "FAILED", range(30), 40),
        ({"epochs": "30"}, "FINISHED", range(1, 31), 30),
        ({"epochs": "30"}, "FAILED", range(30), 30),
        ({}, "FINISHED", range(0, 300, 10), 291),
        ({}, "KILLED", range(0, 300, 10), None),
        # Steps are batches: the number of epochs says nothing of their number.
        ({"epochs": "40"}, "FINISHED", range(0, 300, 10), 291),
        ({"epochs": "500"}, "KILLED", range(0, 300, 10), None),
        # A length below the last step, or of which a finished run did hardly anything, counts something else.
        ({"max_steps": "20"}, "FINISHED", range(30), 30),
        ({"total_steps": "100000"}, "FINISHED", range(30), 30),
        ({"max_steps": "-1", "epochs": "30"}, "FAILED", range(30), 30),
    ],
)
def test_planned_steps(params, status, steps, expected):
    found = described(training=falling(30), steps=list(steps), params=params, status=status)
    assert found["planned_steps"] == expected


def test_every_run_has_a_row_in_the_order_given():
    runs = pl.DataFrame([("b", "FINISHED", 0), ("a", "FINISHED", 0)], schema=RUN_COLUMNS, orient="row")
    params = pl.DataFrame(schema={"run_id": pl.String, "key": pl.String, "value": pl.String})
    found = run_descriptors(runs, params, pl.DataFrame(schema=TRAJECTORY_COLUMNS))
    assert found.select("run_id", "usable", "diverged").rows() == [("b", False, False), ("a", False, False)]


def test_missing_columns_are_named():
    runs = pl.DataFrame(schema=RUN_COLUMNS).drop("status")
    with pytest.raises(ValueError, match=r"runs must have the columns .*missing: status"):
        run_descriptors(runs, pl.DataFrame(), pl.DataFrame(schema=TRAJECTORY_COLUMNS))
