import polars as pl
import pytest

from features.loss_scales import END_COLUMNS, final_regrets, loss_scales, run_ends
from tests.features.curves import curve

NAN = float("nan")


def runs(*rows: tuple[str, float | None, float | None, float | None, bool]) -> pl.DataFrame:
    """(group, first loss, lowest loss, final loss, diverged), runs named by number."""
    numbered = [(f"s/{number}", *row) for number, row in enumerate(rows)]
    return pl.DataFrame(numbered, schema=dict(END_COLUMNS), orient="row")


def test_run_begins_with_its_first_finite_training_loss() -> None:
    [ends] = run_ends(curve([NAN, 3.0, 1.0, 2.0], validation_loss=[5.0, 0.5, None, None])).to_dicts()
    assert ends == {"run_id": "s/a", "first_loss": 3.0, "lowest_loss": 0.5}


def test_run_with_a_curve_of_its_validation_loss_begins_with_that() -> None:
    [ends] = run_ends(curve([3.0] * 5, validation_loss=[5.0, 4.0, 4.0, 4.0, 4.0])).to_dicts()
    assert ends == {"run_id": "s/a", "first_loss": 5.0, "lowest_loss": 3.0}


def test_positive_losses_have_the_reference_zero() -> None:
    [scale] = loss_scales(runs(("g", 4.0, 0.5, 1.0, False), ("g", 2.0, 1.5, 2.0, False))).to_dicts()
    assert scale == {"group_name": "g", "reference_loss": 0.0, "best_loss": 1.0, "naive_loss": 3.0}


def test_losses_that_reach_zero_have_a_reference_a_little_below_their_lowest() -> None:
    [scale] = loss_scales(runs(("g", 3.0, -2.0, -1.0, False))).to_dicts()
    assert scale["reference_loss"] == pytest.approx(-2.0 - 0.02 * 5.0)


def test_diverged_and_non_finite_ends_are_no_best() -> None:
    [scale] = loss_scales(
        runs(("g", 4.0, 0.1, 0.1, True), ("g", 4.0, 0.5, NAN, False), ("g", 4.0, 0.5, 0.7, False))
    ).to_dicts()
    assert scale["best_loss"] == 0.7


def test_groups_have_scales_of_their_own() -> None:
    scales = loss_scales(runs(("b", 4.0, 1.0, 1.0, False), ("a", 8.0, 2.0, 2.0, False)))
    assert scales["group_name"].to_list() == ["a", "b"]
    assert scales["best_loss"].to_list() == [2.0, 1.0]


def test_regret_is_zero_at_the_best_and_one_at_the_beginning() -> None:
    judged = runs(
        ("g", 4.0, 1.0, 1.0, False),
        ("g", 4.0, 1.0, 2.5, False),
        ("g", 4.0, 1.0, 4.0, False),
        ("g", 4.0, 1.0, 9.0, False),
        ("g", 4.0, 1.0, 0.7, False),
    )
    scales = loss_scales(judged.head(4))
    assert final_regrets(judged, scales)["final_regret"].to_list() == pytest.approx([0.0, 0.5, 1.0, 1.0, -0.1])


def test_diverged_run_has_regret_one_and_one_without_an_end_none() -> None:
    judged = runs(("g", 4.0, 1.0, 1.0, False), ("g", 4.0, 0.2, 0.2, True), ("g", 4.0, 1.0, None, False))
    assert final_regrets(judged, loss_scales(judged))["final_regret"].to_list() == [0.0, 1.0, None]


def test_group_without_a_scale_has_no_regrets() -> None:
    judged = runs(("g", 1.0, 1.0, 1.0, False))
    assert final_regrets(judged, loss_scales(judged))["final_regret"].to_list() == [None]
    assert final_regrets(judged, loss_scales(judged.clear()))["final_regret"].to_list() == [None]
