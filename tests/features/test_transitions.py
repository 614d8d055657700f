import math

import polars as pl
import pytest

from features.decision_grid import decision_grid
from features.transitions import STATE, transitions
from tests.features.curves import curve, planned

LN2 = math.log(2.0)


def outcome(regret: float | None = 0.25, run_id: str = "s/a", source: str = "logged") -> pl.DataFrame:
    return pl.DataFrame(
        [(run_id, regret, source)],
        schema={"run_id": pl.String, "final_regret": pl.Float64, "rate_source": pl.String},
        orient="row",
    )


def of(frame: pl.DataFrame, plan: int, starting_rate: float | None = None) -> pl.DataFrame:
    return transitions(decision_grid(frame, planned(plan, starting_rate=starting_rate)), outcome())


def test_first_action_is_the_starting_rate() -> None:
    found = of(curve([1.0, 1.0], learning_rate=[0.05, 0.1]), 12, starting_rate=0.1)
    assert found["action"][0] == pytest.approx(math.log(0.1))


def test_resumed_run_decided_nothing_before_it_was_resumed() -> None:
    rates = [0.05 - 0.001 * number for number in range(10)]
    found = of(curve([1.0] * 10, steps=list(range(20, 30)), learning_rate=rates), 40, starting_rate=0.1)
    assert found["decision"].to_list() == list(range(20, 30))
    assert found["progress"].to_list() == pytest.approx([decision / 40 for decision in range(20, 30)])
    assert found["action"][:2].to_list() == [None, pytest.approx(math.log(0.049 / 0.05))]
    assert found["terminal"].to_list() == [False] * 9 + [True]


def test_run_that_logs_now_and_then_was_there_from_the_beginning() -> None:
    found = of(curve([1.0] * 4, steps=[5, 15, 25, 35], learning_rate=[0.1] * 4), 40, starting_rate=0.1)
    assert found["decision"].to_list() == list(range(36))
    assert found["action"][0] == pytest.approx(math.log(0.1))


def test_later_actions_are_the_log_ratios_of_mean_rates() -> None:
    found = of(curve([1.0] * 4, learning_rate=[0.1, 0.2, 0.2, 0.1]), 12)
    assert found["action"].to_list() == [None, *(pytest.approx(move) for move in (LN2, 0.0, -LN2))]


def test_action_after_an_interval_without_a_rate_is_the_move_since_the_last_known_one() -> None:
    found = of(curve([1.0] * 4, learning_rate=[0.1, None, 0.4, 0.4]), 12)
    assert found["action"].to_list() == [None, None, pytest.approx(2 * LN2), 0.0]


def test_move_beyond_a_factor_of_ten_is_bounded_and_marked() -> None:
    found = of(curve([1.0] * 3, learning_rate=[1.0, 0.001, 0.001]), 12)
    assert found["action"].to_list() == [None, pytest.approx(-math.log(10)), 0.0]
    assert found["action_bounded"].to_list() == [False, True, False]


def test_state_is_what_was_known_before_the_interval() -> None:
    found = of(curve([4.0, 2.0, 1.0]), 12)
    assert found["relative_loss"].to_list() == [None, 0.0, pytest.approx(-LN2)]
    assert found["progress"].to_list() == pytest.approx([0.0, 1 / 12, 2 / 12])
    assert all(found[name][0] is None for name in STATE if name != "progress")


def test_every_row_has_the_end_of_its_run_and_the_last_is_terminal() -> None:
    found = of(curve([4.0, 2.0, 1.0]), 12)
    assert found["final_regret"].to_list() == [0.25] * 3
    assert found["rate_source"].to_list() == ["logged"] * 3
    assert found["terminal"].to_list() == [False, False, True]


def test_runs_do_not_see_one_another() -> None:
    curves = pl.concat([curve([4.0, 2.0], run_id="s/a"), curve([9.0, 3.0], run_id="s/b")])
    plans = pl.concat([planned(12, run_id="s/a"), planned(12, run_id="s/b")])
    outcomes = pl.concat([outcome(0.1, "s/a"), outcome(None, "s/b", "unknown")])
    found = transitions(decision_grid(curves, plans), outcomes)
    assert found["decision"].to_list() == [0, 1, 0, 1]
    assert found["relative_loss"].to_list() == [None, 0.0, None, 0.0]
    assert found["final_regret"].to_list() == [0.1, 0.1, None, None]


def test_run_without_an_outcome_is_left_out() -> None:
    assert transitions(decision_grid(curve([1.0]), planned(12)), outcome(run_id="s/other")).is_empty()
