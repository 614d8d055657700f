import math
from typing import Any

import numpy as np
import pytest

from models.results import Results, concatenate


def table(rows: list[tuple[str, float, int, float]]) -> Results:
    schedule, rate, seed, loss = zip(*rows, strict=True)
    losses = np.array(loss)
    return Results(
        schedule=np.array(schedule),
        starting_rate=np.array(rate),
        seed=np.array(seed),
        selection_loss=losses + 1.0,
        reporting_loss=losses,
        diverged=np.zeros(len(rows), dtype=bool),
    )


def test_rows_come_in_the_order_in_which_the_seeds_were_first_trained() -> None:
    results = table([("a", 0.1, 7, 1.0), ("a", 0.1, 3, 2.0), ("b", 0.1, 3, 3.0), ("b", 0.1, 7, 4.0)])
    assert results.reporting_loss[results.rows("b", 0.1)].tolist() == [4.0, 3.0]


def test_a_rate_is_found_again_after_rounding() -> None:
    results = table([("a", 0.1 * (1 / 9), 1, 1.0)])
    assert results.rows("a", 0.1 / 9).tolist() == [0]
    assert len(results.rates("a")) == 1


def test_rates_that_differ_by_rounding_are_one_rate() -> None:
    results = table([("a", 0.3, 1, 1.0), ("a", 0.1 + 0.2, 2, 1.0), ("a", 0.03, 1, 1.0)])
    assert results.rates("a") == [0.03, 0.3]
    assert results.rows("a", 0.3).tolist() == [0, 1]


def test_a_rate_that_was_not_trained_is_refused_with_those_that_were() -> None:
    with pytest.raises(ValueError, match=r"'a' must have been trained at the starting rate 0\.3, got results at 0\.1"):
        table([("a", 0.1, 1, 1.0)]).rows("a", 0.3)


def test_a_schedule_that_was_not_trained_is_refused() -> None:
    with pytest.raises(ValueError, match=r"'linear' must have been trained .* got results at no rate at all"):
        table([("a", 0.1, 1, 1.0)]).rows("linear", 0.1)


def test_columns_of_different_lengths_are_refused_with_the_difference() -> None:
    columns: dict[str, Any] = {name: getattr(table([("a", 0.1, 1, 1.0)]), name) for name in Results.__annotations__}
    with pytest.raises(ValueError, match=r"expected \(1,\) \(schedule\), received seed \(2,\)"):
        Results(**{**columns, "seed": np.array([1, 2])})


def test_a_training_that_stands_twice_is_refused() -> None:
    with pytest.raises(ValueError, match=r"must stand once in the results, got 'a' at rate 0\.1 with seed 1 twice"):
        table([("a", 0.1, 1, 1.0), ("a", 0.1, 1, 2.0)])


@pytest.mark.parametrize("rate", [0.0, -1.0, math.nan, math.inf])
def test_a_rate_that_is_none_is_refused(rate: float) -> None:
    with pytest.raises(ValueError, match="starting_rate must be finite and > 0"):
        table([("a", rate, 1, 1.0)])


def test_results_are_a_copy_that_cannot_be_written() -> None:
    losses = np.array([1.0])
    results = Results(
        schedule=np.array(["a"]),
        starting_rate=np.array([0.1]),
        seed=np.array([1]),
        selection_loss=losses,
        reporting_loss=losses,
        diverged=np.array([False]),
    )
    losses[0] = 9.0
    assert results.reporting_loss.tolist() == [1.0]
    with pytest.raises(ValueError, match="read-only"):
        results.reporting_loss[0] = 9.0


def test_concatenated_results_keep_their_order() -> None:
    both = concatenate([table([("a", 0.1, 2, 1.0)]), table([("a", 0.1, 1, 2.0), ("longer name", 0.1, 1, 3.0)])])
    assert both.schedules() == ["a", "longer name"]
    assert both.reporting_loss.tolist() == [1.0, 2.0, 3.0]


def test_nothing_to_concatenate_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one table, got none"):
        concatenate([])


def with_failures(rows: list[tuple[str, float, int, float]], failed: list[bool]) -> Results:
    made = table(rows)
    columns: dict[str, Any] = {name: getattr(made, name) for name in Results.__annotations__}
    return Results(**{**columns, "failed": np.array(failed)})


def test_a_seed_that_failed_for_all_is_left_out_and_a_single_failure_has_diverged() -> None:
    rows = [("a", 0.1, 1, 1.0), ("b", 0.1, 1, 2.0), ("a", 0.1, 2, math.nan), ("b", 0.1, 2, math.nan)]
    rows += [("a", 0.1, 3, math.nan), ("b", 0.1, 3, 4.0)]
    results = with_failures(rows, [False, False, True, True, True, False])
    kept = results.without_failed_seeds()
    assert kept.seed.tolist() == [1, 1, 3, 3]
    assert kept.diverged.tolist() == [False, False, True, False]
    assert not kept.failed.any()


def test_nothing_has_failed_unless_it_is_said() -> None:
    assert table([("a", 0.1, 1, 1.0), ("a", 0.1, 2, 2.0)]).failed.tolist() == [False, False]
