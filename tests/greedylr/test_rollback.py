import math
from dataclasses import replace
from typing import Any

import pytest

from greedylr import Envelope, GreedyLRParameters, RateController, RelativeRule, Rollback, Schedule, initial_state
from greedylr.rollback import RollbackState, next_rollback, rolled_back

NAN = math.nan
RULE = GreedyLRParameters(factor=0.5, patience=0, max_lr=64.0, min_lr=0.25)


def controller_of(rollback: Rollback, rule: Any = RULE, **changes: Any) -> RateController:
    return RateController(Schedule(rule=rule, rollback=rollback, **changes).resolve(100), [1.0])


def followed(controller: RateController, losses: list[float]) -> list[tuple[float, str | None]]:
    """The rate after each loss, and what is to be done with the weights."""
    steps: list[tuple[float, str | None]] = []
    for loss in losses:
        controller.observe(loss)
        steps.append((controller.learning_rates[0], controller.take_event()))
    return steps


@pytest.mark.parametrize(
    ("losses", "events"),
    [
        ([4.0, 3.0, 3.5, 2.0], ["new_best", "new_best", None, "new_best"]),
        # Within the guard: 2 + 0.5 x 2.
        ([2.0, 3.0, 3.01], ["new_best", None, "rollback"]),
        ([NAN, 2.0, math.inf, -math.inf], ["rollback", "new_best", "rollback", "give_up"]),
        ([2.0, 9.0, 9.0, 9.0, 9.0, 1.0], ["new_best", "rollback", "rollback", "give_up", None, None]),
        # Converged: a hundred times the best is nothing of what was won. A hundredth of that is.
        ([1.0, 1e-9, 1e-7, 9e-3, 0.011], ["new_best", "new_best", None, None, "rollback"]),
        # Below zero the guard lies above the best too.
        ([-2.0, -1.0, -0.9, -3.0], ["new_best", None, "rollback", "new_best"]),
    ],
)
def test_weights_are_kept_at_new_bests_and_restored_beyond_the_guard(
    losses: list[float], events: list[str | None]
) -> None:
    rollback, state, seen = Rollback(guard=0.5, limit=2), RollbackState(), []
    for loss in losses:
        state, event = next_rollback(rollback, state, loss)
        seen.append(event)
    assert seen == events


def test_rollback_halves_and_caps_the_rate_and_starts_the_counters_anew() -> None:
    parameters = GreedyLRParameters(factor=0.5, patience=5, min_lr=0.25)
    state = initial_state(parameters)._replace(
        learning_rate=4.0, best=2.0, num_good=2, num_bad=3, cooldown_counter=2, warmup_counter=1
    )
    after = rolled_back(parameters, state)
    assert after == state._replace(
        learning_rate=2.0, ceiling=2.0, num_good=0, num_bad=0, cooldown_counter=0, warmup_counter=0
    )
    # Never below the lower bound.
    assert rolled_back(parameters, state._replace(learning_rate=0.25)).learning_rate == 0.25


def test_rate_is_raised_no_further_than_where_a_rollback_cut_it() -> None:
    steps = followed(controller_of(Rollback()), [8.0, 7.0, 6.0, 20.0, 5.0, 4.0, 3.0])
    assert steps == [
        *((1.0, "new_best"), (2.0, "new_best"), (4.0, "new_best"), (2.0, "rollback")),
        *((2.0, "new_best"), (2.0, "new_best"), (2.0, "new_best")),
    ]


def test_window_starts_afresh_after_a_rollback() -> None:
    rule = replace(RULE, smooth=True, window_size=4, patience=9)
    controller = controller_of(Rollback(guard=0.5), rule)
    # The window is full at the fourth loss, with mean 4; 32 makes it 11. Then it has forgotten 32.
    steps = followed(controller, [4.0] * 4 + [32.0] + [3.0] * 4)
    assert [event for _, event in steps] == [*[None] * 3, "new_best", "rollback", *[None] * 3, "new_best"]


def test_window_that_is_not_full_is_no_best_and_no_reason_to_go_back() -> None:
    rule = replace(RULE, smooth=True, window_size=4, patience=9)
    controller = controller_of(Rollback(guard=0.5), rule)
    steps = followed(controller, [0.1, 4.0, 4.0, 4.0, 32.0, 32.0, NAN, 32.0])
    assert [event for _, event in steps] == [*[None] * 3, "new_best", "rollback", None, "rollback", None]


def test_rollback_looks_at_decisions_only() -> None:
    rule = RelativeRule(factor=0.5, interval=0.1, window=0.1)
    controller = controller_of(Rollback(), rule)
    steps = followed(controller, [1.0] * 15 + [NAN] * 5 + [1.0] * 10)
    assert {place: event for place, (_, event) in enumerate(steps) if event} == {9: "new_best", 19: "rollback"}


@pytest.mark.parametrize("non_finite", ["bad", "cut", "ignore", "compare"])
def test_loss_that_is_not_finite_is_rolled_back_whatever_the_rule_makes_of_it(non_finite: Any) -> None:
    rule = replace(RULE, non_finite=non_finite, smooth=True, window_size=3, patience=9)
    steps = followed(controller_of(Rollback(), rule), [2.0, 2.0, 2.0, NAN, 1.0, 1.0, 1.0])
    assert [event for _, event in steps] == [None, None, "new_best", "rollback", None, None, "new_best"]
    assert [rate for rate, _ in steps] == [1.0, 1.0, 1.0, 0.5, 0.5, 0.5, 0.5]


def test_rollback_goes_before_the_guard_and_leaves_small_excesses_to_it() -> None:
    rule = replace(RULE, guard=0.1, patience=9)
    steps = followed(controller_of(Rollback(guard=0.5), rule), [2.0, 2.5, 4.0])
    assert steps == [(1.0, "new_best"), (0.5, None), (0.25, "rollback")]


def test_after_the_limit_the_rule_is_alone() -> None:
    rule = replace(RULE, patience=1)
    steps = followed(controller_of(Rollback(limit=1), rule), [2.0, 9.0, 9.0, 9.0, 9.0, 1.0])
    assert [event for _, event in steps] == ["new_best", "rollback", "give_up", None, None, None]
    assert [rate for rate, _ in steps] == [1.0, 0.5, 0.5, 0.25, 0.25, 0.25]


def test_score_that_is_to_rise_is_left_behind_where_it_falls() -> None:
    rule = replace(RULE, mode="max", patience=9)
    steps = followed(controller_of(Rollback(guard=0.5), rule), [0.4, 0.8, 0.41, 0.39, 0.9])
    assert [event for _, event in steps] == ["new_best", "new_best", None, "rollback", "new_best"]


def test_nothing_is_rolled_back_in_a_final_anneal() -> None:
    controller = controller_of(Rollback(), envelope=Envelope(shape="final_anneal"))
    steps = followed(controller, [1.0] * 80 + [NAN] * 20)
    assert [event for _, event in steps if event] == ["new_best"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"guard": -0.1}, "rollback.guard must be a finite number >= 0, got -0.1"),
        ({"guard": math.inf}, "rollback.guard must be a finite number >= 0, got inf"),
        ({"limit": 0}, "rollback.limit must be an integer >= 1, got 0"),
        ({"limit": 1.5}, "rollback.limit must be an integer >= 1, got 1.5"),
    ],
)
def test_rollback_that_cannot_be_is_refused(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Rollback(**arguments)


def test_rollback_without_a_rule_is_refused() -> None:
    with pytest.raises(ValueError, match="a rollback needs a rule, at whose decisions it looks, got none"):
        Schedule(rollback=Rollback())
