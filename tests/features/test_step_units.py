"""Series of one run that count in batches, in epochs, or not at all, on one axis."""

import math

import polars as pl
import pytest

from features.trajectories import POINT_COLUMNS, ROLE_COLUMNS, trajectories

ROLES = {
    "train_loss_step": "training_loss",
    "train_loss_epoch": "training_loss",
    "val_loss": "validation_loss",
    "lr": "learning_rate",
    "epoch": "epoch",
}


def curve(**series):
    """(step, training loss, validation loss, learning rate) of each row of the one run."""
    rows = [("a", key, *point) for key, listed in series.items() for point in listed]
    roles = [("a", key, ROLES[key]) for key in series]
    found = trajectories(
        pl.DataFrame(rows, schema=POINT_COLUMNS, orient="row"), pl.DataFrame(roles, schema=ROLE_COLUMNS, orient="row")
    )
    return found.select("step", "training_loss", "validation_loss", "learning_rate").rows()


def validated(rows):
    return {step: validation for step, _, validation, _ in rows if validation is not None}


BATCHES = [(10 * n + 9, 0, 3.0 - n / 100) for n in range(60)]
"""Six epochs of 100 batches; every time is 0, so that only the logged epoch can tell."""
EPOCH = [(step, 0, step // 100) for step, _, _ in BATCHES]


def test_the_logged_epoch_brings_a_series_by_epoch_to_the_last_batch_of_its_epochs():
    rows = curve(train_loss_step=BATCHES, epoch=EPOCH, val_loss=[(n, 0, 2.0 - n / 10) for n in range(6)])
    assert validated(rows) == {
        100 * n + 99: pytest.approx(2.0 - n / 10) for n in range(6)
    }  # fmt: skip
    assert len(rows) == 60


def test_the_logged_epoch_brings_a_rate_by_batch_to_the_epochs_of_the_loss():
    losses = [(n, 0, 2.0 - n / 20) for n in range(12)]
    batches = range(9, 1200, 10)
    rates = [(step, 0, 0.1 / (1 + step)) for step in batches]
    rows = curve(train_loss_epoch=losses, lr=rates, epoch=[(step, 0, step // 100) for step in batches])
    assert [(step, rate) for step, _, _, rate in rows] == [(n, 0.1 / (1 + 100 * n + 99)) for n in range(12)]


def test_an_epoch_logged_as_a_fraction_brings_an_evaluation_to_its_end():
    fractions = [(step, 0, (step + 1) / 100) for step, _, _ in BATCHES]
    rows = curve(train_loss_step=BATCHES, epoch=fractions, val_loss=[(n, 0, 2.0 - n / 10) for n in range(1, 7)])
    assert list(validated(rows)) == [99, 199, 299, 399, 499, 599]


def test_series_of_both_kinds_that_share_their_steps_are_left_alone():
    ends = [(100 * n + 99, 0, 2.0 - n / 10) for n in range(6)]
    rows = curve(train_loss_step=BATCHES, epoch=EPOCH, val_loss=ends)
    assert list(validated(rows)) == [99, 199, 299, 399, 499, 599]


def test_an_epoch_that_is_the_step_moves_nothing():
    losses = [(n, 1000 * n, 2.0 - n / 20) for n in range(20)]
    rows = curve(train_loss_epoch=losses, epoch=[(n, 1000 * n, n) for n in range(20)], val_loss=losses)
    assert validated(rows) == {n: value for n, _, value in losses}


def test_the_epoch_is_no_curve():
    assert curve(epoch=EPOCH) == []


def test_without_an_epoch_series_by_epoch_go_by_time():
    batches = [(100 * n, 1000 * n, 3.0 - n / 100) for n in range(50)]
    epochs = [(0, 12_500, 2.0), (1, 25_000, 1.8), (2, 49_500, 1.7)]
    assert validated(curve(train_loss_step=batches, val_loss=epochs)) == {1200: 2.0, 2500: 1.8, 4900: 1.7}


def test_a_lone_evaluation_within_the_steps_keeps_its_step():
    losses = [(n, 1000 * n, 2.0 - n / 20) for n in range(24)]
    # Logged a moment before the loss of its step.
    assert validated(curve(train_loss_epoch=losses, val_loss=[(23, 22_900, 1.5)])) == {23: 1.5}


def test_a_series_with_one_point_more_is_aligned():
    losses = [(n, 1000 * n, 2.0 - n / 20) for n in range(20)]
    validation = [(n, 1000 * n + 400, 3.0 - n / 20) for n in range(20)]
    for extra in [(19, 25_000, 9.0), (0, 25_000, 9.0)]:  # the final validation, at the last step or at none
        rows = curve(train_loss_epoch=losses, val_loss=[*validation, extra])
        assert rows == [(n, 2.0 - n / 20, 3.0 - n / 20, None) for n in range(20)]
    rows = curve(train_loss_epoch=losses, val_loss=[*validation, (20, 25_000, 9.0)])
    assert rows[:20] == [(n, 2.0 - n / 20, 3.0 - n / 20, None) for n in range(20)]
    assert rows[20:] == [(20, None, 9.0, None)]


def test_a_loss_of_two_points_does_not_set_the_axis_of_a_long_one():
    validation = [(n, 1000 * n, 3.0 - n / 20) for n in range(40)]
    rows = curve(train_loss_epoch=[(0, 19_900, 2.0), (1, 39_900, 1.0)], val_loss=validation)
    assert validated(rows) == {n: value for n, _, value in validation}
    assert [row[:2] for row in rows if row[1] is not None] == [(19, 2.0), (39, 1.0)]


def test_the_batches_of_a_validation_pass_are_no_curve():
    # 50 batches of training, then 50 of validation, twice; the training loss is logged once an epoch.
    training = [(49, 1000, 1.6), (99, 110_000, 1.4)]
    passes = [(n, 2000 + 500 * n, 1.5 + n % 7) for n in range(50)]
    passes += [(50 + n, 111_000 + 500 * n, 1.3 + n % 7) for n in range(50)]
    assert curve(train_loss_epoch=training, val_loss=passes) == [
        (49, 1.6, pytest.approx(1.5 + 49 % 7), None),
        (99, 1.4, pytest.approx(1.3 + 49 % 7), None),
    ]


def test_a_history_that_was_logged_when_all_was_over_is_a_curve():
    training = [(n, 1_000_000 + n, 2.0 - n / 20) for n in range(20)]
    validation = [(n, 1_000_100 + n, 2.5 - n / 20) for n in range(20)]
    assert curve(train_loss_epoch=training, val_loss=validation) == [
        (n, 2.0 - n / 20, 2.5 - n / 20, None) for n in range(20)
    ]


def test_a_rate_logged_once_before_the_training_stands_at_its_first_step():
    losses = [(50 * n + 49, 1000 * n, 2.0 - n / 20) for n in range(20)]
    rows = curve(train_loss_step=losses, lr=[(0, -5000, 0.01)])
    assert [(step, rate) for step, _, _, rate in rows if rate] == [(49, 0.01)]


def test_an_epoch_that_is_not_finite_is_no_axis():
    rows = curve(
        train_loss_step=[(100 * n, 1000 * n, 3.0) for n in range(50)],
        epoch=[(0, 0, math.nan), (4900, 49_000, math.inf)],
        val_loss=[(0, 12_500, 2.0), (1, 49_500, 1.8)],
    )
    assert validated(rows) == {1200: 2.0, 4900: 1.8}
