import numpy as np

from models.retraining.training_record import NEVER, TrainingRecord, curve_bounds, joined, shortened

NAN = float("nan")


def record(diverged_step: int, selection: float = 1.0, reporting: float = 1.0) -> TrainingRecord:
    return TrainingRecord.of(
        losses=np.array([[4.0], [3.0], [2.0]]),
        rates=np.array([[0.1], [0.1], [0.1]]),
        diverged_step=np.array([diverged_step]),
        selection=np.array([selection]),
        reporting=np.array([reporting]),
    )


def test_what_came_after_a_divergence_is_taken_out() -> None:
    diverged = record(diverged_step=1)
    np.testing.assert_equal(diverged.losses[:, 0], [4.0, 3.0, NAN])
    np.testing.assert_equal(diverged.rates[:, 0], [0.1, 0.1, NAN])
    np.testing.assert_equal(diverged.selection_loss, [NAN])


def test_final_loss_that_is_not_finite_is_a_divergence_at_the_end() -> None:
    assert record(diverged_step=NEVER, selection=np.inf).diverged_step.tolist() == [3]
    assert record(diverged_step=NEVER, reporting=NAN).diverged_step.tolist() == [3]
    assert record(diverged_step=NEVER).diverged_step.tolist() == [NEVER]
    np.testing.assert_equal(record(diverged_step=NEVER, reporting=NAN).selection_loss, [NAN])


def test_joined_records_keep_their_order() -> None:
    both = joined([record(diverged_step=NEVER), record(diverged_step=1)])
    assert both.diverged_step.tolist() == [NEVER, 1]
    assert both.losses.shape == (3, 2)


def test_curve_is_shortened_to_means_of_what_is_finite() -> None:
    series = np.array([[1.0], [3.0], [5.0], [NAN], [NAN], [NAN]])
    bounds = curve_bounds(total_steps=6, points=3)
    assert bounds.tolist() == [0, 2, 4, 6]
    np.testing.assert_equal(shortened(series, bounds), [[2.0], [5.0], [NAN]])


def test_curve_of_a_short_run_keeps_every_step() -> None:
    assert curve_bounds(total_steps=3, points=40).tolist() == [0, 1, 2, 3]
