"""Losses in, a list of rates out."""

import math
import random
from collections.abc import Sequence
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from greedylr import GreedyLRParameters, GreedyLRState, initial_state, next_state
from greedylr.rule import is_better

NAN, INFINITY = math.nan, math.inf


def states_after(
    losses: Sequence[float], start: float = 1.0, may_increase: bool = True, **parameters: Any
) -> list[GreedyLRState]:
    rule = GreedyLRParameters(**{"factor": 0.5, "patience": 0, **parameters})
    state, states = initial_state(rule, start), []
    for loss in losses:
        state = next_state(rule, state, loss, may_increase=may_increase)
        states.append(state)
    return states


def rates_after(losses: Sequence[float], start: float = 1.0, **parameters: Any) -> list[float]:
    return [state.learning_rate for state in states_after(losses, start, **parameters)]


def test_rate_rises_at_each_better_loss_and_falls_at_each_other() -> None:
    assert rates_after([4, 3, 2, 2, 5, 1]) == [1, 2, 4, 2, 1, 2]


def test_rate_rises_after_more_than_patience_better_losses_in_a_row() -> None:
    assert rates_after([9, 8, 7, 6, 5, 4, 3], patience=2) == [1, 1, 1, 2, 2, 2, 4]


def test_rate_falls_after_more_than_patience_losses_in_a_row_that_are_not_better() -> None:
    assert rates_after([1, 1, 2, 3, 1, 1, 1], patience=2) == [1, 1, 1, 0.5, 0.5, 0.5, 0.25]


def test_one_better_loss_starts_the_count_of_bad_ones_anew_and_the_other_way_round() -> None:
    assert rates_after([5, 6, 6, 4, 6, 6, 3, 6, 6], patience=2) == [1] * 9
    assert rates_after([9, 8, 7, 8, 6, 5, 6, 4, 3], patience=2) == [1] * 9


def test_rise_has_its_own_factor() -> None:
    assert rates_after([3, 2, 9, 1], factor=0.5, increase_factor=0.8) == [1, 1.25, 0.625, 0.78125]


def test_loss_must_beat_the_best_by_more_than_an_absolute_threshold() -> None:
    assert rates_after([4, 3.5, 3.25, 2.75], threshold=0.5) == [1, 0.5, 1, 0.5]


def test_loss_must_beat_the_best_by_more_than_a_relative_threshold() -> None:
    assert rates_after([8, 7, 6, 5, 3.5], threshold=0.25, threshold_mode="rel") == [1, 0.5, 0.25, 0.5, 1]


def test_relative_threshold_is_as_strict_for_negative_losses() -> None:
    assert rates_after([-8, -9, -10, -11, -13], threshold=0.25, threshold_mode="rel") == [1, 0.5, 0.25, 0.5, 0.25]


def test_signed_relative_threshold_counts_a_worse_negative_loss_as_better_as_transformers_does() -> None:
    assert rates_after([-8, -7, -6], threshold=0.25, threshold_mode="rel_signed") == [1, 2, 4]


def test_score_to_be_maximised_is_better_where_it_is_higher() -> None:
    assert rates_after([1, 2, 3, 2, 4], mode="max") == [1, 2, 4, 2, 4]
    assert rates_after([-8, -7, -5], mode="max", threshold=0.25, threshold_mode="rel") == [1, 0.5, 1]


def test_learning_rate_holds_during_cooldown() -> None:
    assert rates_after([4, 5, 3, 2, 1], cooldown=2) == [1, 0.5, 0.5, 0.5, 1]


def test_learning_rate_holds_during_warmup() -> None:
    assert rates_after([4, 3, 9, 9, 9], warmup=2) == [1, 2, 2, 2, 1]


def test_held_stage_leaves_the_best_as_it_was() -> None:
    # 2.0 in the cooldown is better than 4.0 and forgotten, so that 3.0 is better still.
    assert [state.best for state in states_after([4, 5, 2, 3], cooldown=1)] == [4, 4, 4, 3]
    assert rates_after([4, 5, 2, 3], cooldown=1) == [1, 0.5, 0.5, 1]


def test_continued_stage_repeats_the_move_though_the_trend_reverses() -> None:
    assert rates_after([4, 5, 3, 2, 1], cooldown=2, stages="continue") == [1, 0.5, 0.25, 0.125, 0.25]
    assert rates_after([4, 3, 9, 9, 9], warmup=2, stages="continue") == [1, 2, 4, 8, 4]


def test_continued_stage_takes_up_a_better_best() -> None:
    assert [state.best for state in states_after([4, 5, 2], cooldown=1, stages="continue")] == [4, 4, 2]


def test_continued_warmup_raises_nothing_where_no_raise_is_allowed() -> None:
    rule = GreedyLRParameters(factor=0.5, patience=0, warmup=2, stages="continue")
    state = next_state(rule, next_state(rule, initial_state(rule), 4.0), 3.0)
    assert state.learning_rate == 2.0
    assert next_state(rule, state, 2.0, may_increase=False).learning_rate == 2.0
    assert next_state(rule, state, 2.0).learning_rate == 4.0


def test_silenced_stage_counts_the_moves_own_kind_alone() -> None:
    # In the cooldown better losses raise nothing, worse ones go on lowering, and each lowering starts it anew.
    assert rates_after([4, 5, 3, 2, 1], cooldown=2, stages="silence") == [1, 0.5, 0.5, 0.5, 1]
    assert rates_after([4, 5, 6, 7, 3, 2, 1], cooldown=2, stages="silence") == [1, 0.5, 0.25, 0.125, 0.125, 0.125, 0.25]
    assert rates_after([4, 3, 9, 9, 9], warmup=2, stages="silence") == [1, 2, 2, 2, 1]
    assert rates_after([4, 3, 2, 9, 9, 9], warmup=2, stages="silence") == [1, 2, 4, 4, 4, 2]


def test_rate_stays_within_its_bounds() -> None:
    assert rates_after([4, 5, 5, 5], min_lr=0.3) == [1, 0.5, 0.3, 0.3]
    assert rates_after([9, 8, 7, 6], max_lr=3) == [1, 2, 3, 3]


def test_rate_that_starts_above_its_bounds_is_never_raised_and_falls_as_usual() -> None:
    assert rates_after([4, 3, 5, 5, 5], start=8.0, max_lr=4.0, min_lr=1.5) == [8, 8, 4, 2, 1.5]


def test_rate_that_starts_below_its_bounds_is_never_lowered_and_rises_as_usual() -> None:
    assert rates_after([4, 5, 3, 2, 1], start=0.25, min_lr=1.0, max_lr=3.0) == [0.25, 0.25, 0.5, 1, 2]


def test_change_not_larger_than_eps_is_not_made() -> None:
    assert rates_after([4, 5, 5, 5, 5], eps=0.1) == [1, 0.5, 0.25, 0.125, 0.125]
    assert rates_after([4, 3, 2], max_lr=2.05, eps=0.1) == [1, 2, 2]


def test_factor_of_one_never_moves_the_rate() -> None:
    assert rates_after([4, 3, 9, 9, 1], factor=1.0) == [1] * 5


def test_raise_that_is_not_allowed_starts_its_count_anew() -> None:
    assert rates_after([9, 8, 7, 6, 7], patience=1, may_increase=False) == [1] * 5
    assert [state.num_good for state in states_after([9, 8, 7, 6], patience=1, may_increase=False)] == [0, 1, 0, 1]


def test_lowering_is_made_where_no_raise_is_allowed() -> None:
    assert rates_after([4, 3, 5], may_increase=False) == [1, 1, 0.5]


def test_rate_returns_to_its_start_after_so_many_lowerings_at_the_lower_bound() -> None:
    rates = rates_after([1, 1, 1, 1, 1, 1, 1], min_lr=0.25, reset_start=3)
    assert rates == [1, 0.5, 0.25, 0.25, 1, 1, 0.5]
    last = states_after([1, 1, 1, 1, 1], min_lr=0.25, reset_start=3)[-1]
    assert last == GreedyLRState(1.0, 1.0, INFINITY, 0, 0, 0, 0, 3, 1, INFINITY)


def test_raise_starts_the_count_towards_the_reset_anew() -> None:
    rates = rates_after([4, 5, 5, 3, 4, 4, 4], min_lr=0.5, reset_start=3)
    assert rates == [1, 0.5, 0.5, 1, 0.5, 0.5, 1]


def test_without_reset_start_the_rate_stays_at_the_lower_bound() -> None:
    assert rates_after([1] * 8, min_lr=0.5) == [1] + [0.5] * 7


def test_guard_halves_the_rate_at_once_and_caps_it_there() -> None:
    losses = [4, 5.9, 6.1, 3, 2, 2.9, 3.1, 1]
    rates = rates_after(losses, patience=1, factor=0.8, guard=0.5)
    assert rates == [1, 1, 0.5, 0.5, 0.5, 0.5, 0.25, 0.25]


def test_loss_at_the_edge_of_the_guard_does_not_trip_it() -> None:
    assert rates_after([4, 6, 6.1], patience=9, guard=0.5) == [1, 1, 0.5]


def test_guard_starts_both_counts_anew() -> None:
    # Without the guard the second bad loss would lower, and the third good one raise.
    assert rates_after([4, 5, 9, 5, 5], patience=1, factor=0.8, guard=1.0) == [1, 1, 0.5, 0.5, 0.4]
    states = states_after([9, 8, 7, 99], patience=5, guard=1.0)
    assert [state.num_good for state in states] == [0, 1, 2, 0]


def test_guard_measures_from_the_size_of_a_negative_best() -> None:
    assert rates_after([-4, -2.1, -1.9], patience=9, guard=0.5) == [1, 1, 0.5]
    assert rates_after([4, 2.1, 1.9], patience=9, guard=0.5, mode="max") == [1, 1, 0.5]


def test_guard_does_not_cut_below_the_lower_bound() -> None:
    assert rates_after([1, 9, 9], guard=0.5, min_lr=0.4) == [1, 0.5, 0.4]
    assert rates_after([1, 9], start=0.25, guard=0.5, min_lr=0.4) == [0.25, 0.25]


def test_guard_cuts_within_a_held_stage() -> None:
    assert rates_after([4, 5, 9], guard=1.0, cooldown=3) == [1, 0.5, 0.25]


def test_reset_returns_no_higher_than_the_cap_of_the_guard() -> None:
    rates = rates_after([1, 2, 1, 1, 1, 0.5], guard=0.5, min_lr=0.25, reset_start=2)
    assert rates == [1, 0.5, 0.25, 0.5, 0.5, 0.5]


@pytest.mark.parametrize("loss", [NAN, INFINITY, -INFINITY])
def test_non_finite_loss_is_one_bad_decision(loss: float) -> None:
    assert rates_after([4, loss, 3, loss, loss, 2, 1], patience=1) == [1, 1, 1, 1, 0.5, 0.5, 1]


@pytest.mark.parametrize("loss", [NAN, INFINITY, -INFINITY])
def test_non_finite_loss_cuts_whatever_the_patience(loss: float) -> None:
    assert rates_after([4, loss, 3, loss], patience=5, non_finite="cut") == [1, 0.5, 0.5, 0.25]


def test_cut_starts_a_cooldown() -> None:
    assert rates_after([4, NAN, 3, 2], non_finite="cut", cooldown=1) == [1, 0.5, 0.5, 1]


def test_cut_ends_a_warmup() -> None:
    assert rates_after([4, 3, NAN, 2], non_finite="cut", warmup=5) == [1, 2, 1, 2]


@pytest.mark.parametrize("loss", [NAN, INFINITY, -INFINITY])
def test_ignored_non_finite_loss_leaves_the_state_as_it_was(loss: float) -> None:
    states = states_after([4, 3, loss], non_finite="ignore", warmup=2)
    assert states[2] == states[1]


def test_non_finite_loss_acts_within_a_stage_and_does_not_shorten_it() -> None:
    states = states_after([4, 5, NAN], cooldown=3)
    assert [state.learning_rate for state in states] == [1, 0.5, 0.25]
    assert [state.cooldown_counter for state in states] == [0, 3, 3]


def test_compared_non_finite_loss_is_a_number_like_any_other() -> None:
    assert rates_after([4, NAN, INFINITY, -INFINITY, 1], non_finite="compare") == [1, 0.5, 0.25, 0.5, 0.25]


def test_first_loss_sets_the_best_and_counts_as_neither() -> None:
    first = states_after([7.0])[0]
    assert (first.learning_rate, first.best, first.num_good, first.num_bad) == (1.0, 7.0, 0, 0)


def test_first_loss_counts_as_good_where_it_is_said_so() -> None:
    assert rates_after([7.0, 6.0], first_loss="good") == [2, 4]


@pytest.mark.parametrize("non_finite", ["bad", "ignore", "cut", "compare"])
def test_non_finite_first_loss_never_becomes_the_best(non_finite: str) -> None:
    states = states_after([NAN, 4, 3], patience=1, non_finite=non_finite)
    assert [state.best for state in states] == [INFINITY, 4, 3]


def test_state_is_not_changed_in_place() -> None:
    rule = GreedyLRParameters(patience=0)
    state = initial_state(rule)
    next_state(rule, state, 1.0)
    assert state == initial_state(rule)


@pytest.mark.parametrize("seed", range(20))
def test_rule_that_never_raises_equals_reduce_on_plateau_of_torch(seed: int) -> None:
    random_number = random.Random(seed)
    relative = random_number.random() < 0.5
    shared: dict[str, Any] = {
        "mode": random_number.choice(["min", "max"]),
        "factor": random_number.choice([0.1, 0.5, 0.9]),
        "patience": random_number.randrange(5),
        "threshold": random_number.choice([0.0, 1e-4, 0.1]),
        "min_lr": random_number.choice([0.0, 1e-3, 0.05]),
        "eps": random_number.choice([0.0, 1e-8, 1e-2]),
    }
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.1)
    plateau = torch.optim.lr_scheduler.ReduceLROnPlateau(
        optimizer, threshold_mode="rel" if relative else "abs", **shared
    )
    rule = GreedyLRParameters(
        **shared,
        threshold_mode="rel_signed" if relative else "abs",
        increase_factor=1.0,
        bounds="absolute",
        max_lr=1.0,
    )
    state = initial_state(rule, 0.1)
    for step in range(200):
        loss = math.exp(-step / 50) + random_number.gauss(0, 0.2)
        plateau.step(loss)
        state = next_state(rule, state, loss)
        assert state.learning_rate == optimizer.param_groups[0]["lr"]


def rules(**fixed: Any) -> st.SearchStrategy[GreedyLRParameters]:
    drawn: dict[str, Any] = {
        "mode": st.sampled_from(["min", "max"]),
        "factor": st.sampled_from([0.1, 0.5, 0.95, 1.0]),
        "increase_factor": st.sampled_from([None, 0.3, 0.9, 1.0]),
        "patience": st.integers(0, 3),
        "threshold": st.sampled_from([0.0, 1e-6, 0.1]),
        "threshold_mode": st.sampled_from(["abs", "rel", "rel_signed"]),
        "cooldown": st.integers(0, 3),
        "warmup": st.integers(0, 3),
        "stages": st.sampled_from(["hold", "continue", "silence"]),
        "min_lr": st.sampled_from([0.0, 0.01, 0.5, 1.0]),
        "max_lr": st.sampled_from([1.0, 1.7, 10.0]),
        "eps": st.sampled_from([0.0, 1e-8, 0.3]),
        "reset_start": st.sampled_from([None, 0, 1, 3]),
        "guard": st.sampled_from([None, 0.0, 0.3]),
        "non_finite": st.sampled_from(["bad", "cut", "ignore", "compare"]),
        "first_loss": st.sampled_from(["sets_best", "good"]),
    }
    fixed_strategies = {name: st.just(value) for name, value in fixed.items()}
    return st.builds(GreedyLRParameters, **{**drawn, **fixed_strategies})


@settings(deadline=None)
@given(rules(), st.lists(st.floats(), max_size=40), st.randoms(use_true_random=False))
def test_rate_never_leaves_its_bounds(rule: GreedyLRParameters, losses: list[float], coin: random.Random) -> None:
    state = initial_state(rule)
    for loss in losses:
        state = next_state(rule, state, loss, may_increase=coin.random() < 0.8)
        assert rule.min_lr <= state.learning_rate <= rule.max_lr
        assert state.learning_rate <= state.ceiling
        assert 0 <= state.num_good <= rule.patience
        assert 0 <= state.num_bad <= rule.patience


@settings(deadline=None)
@given(rules(threshold_mode="rel"), st.lists(st.floats(-1e3, 1e3), max_size=40), st.integers(-100, 100))
def test_unit_of_the_loss_changes_nothing_where_the_threshold_is_relative(
    rule: GreedyLRParameters, losses: list[float], exponent: int
) -> None:
    # Powers of two, so that no rounding differs; losses that would fall below the normal numbers are left out.
    losses = [loss for loss in losses if loss == 0 or abs(loss) > 1e-100]
    plain, scaled = initial_state(rule), initial_state(rule)
    for loss in losses:
        plain, scaled = next_state(rule, plain, loss), next_state(rule, scaled, math.ldexp(loss, exponent))
        assert plain._replace(best=0.0) == scaled._replace(best=0.0)


@settings(deadline=None)
@given(st.floats(-1e9, 1e9), st.floats(0, 0.99), st.sampled_from(["min", "max"]))
def test_no_loss_is_better_than_itself(loss: float, threshold: float, mode: Any) -> None:
    assert not is_better(GreedyLRParameters(mode=mode, threshold=threshold, threshold_mode="abs"), loss, loss)
    assert not is_better(GreedyLRParameters(mode=mode, threshold=threshold, threshold_mode="rel"), loss, loss)


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("factor", 0, r"factor must lie in \(0, 1\], got 0; GreedyLR divides by it"),
        ("factor", 1.5, r"factor must lie in \(0, 1\], got 1.5"),
        ("factor", -1, "factor must be a finite number >= 0, got -1"),
        ("factor", NAN, "factor must be a finite number >= 0, got nan"),
        ("factor", "0.5", "factor must be a finite number >= 0, got '0.5'"),
        ("factor", 10**400, "factor must be a finite number >= 0, got 1000"),
        ("increase_factor", 1.01, r"increase_factor must lie in \(0, 1\], got 1.01"),
        ("patience", -5, "patience must be an integer >= 0, got -5"),
        ("patience", 2.0, "patience must be an integer >= 0, got 2.0"),
        ("patience", True, "patience must be an integer >= 0, got True"),
        ("cooldown", -1, "cooldown must be an integer >= 0, got -1"),
        ("warmup", -1, "warmup must be an integer >= 0, got -1"),
        ("window_size", 0, "window_size must be an integer >= 1, got 0"),
        ("reset_start", -1, "reset_start must be an integer >= 0, got -1"),
        ("threshold", -1e-6, "threshold must be a finite number >= 0, got -1e-06"),
        ("eps", INFINITY, "eps must be a finite number >= 0, got inf"),
        ("guard", -0.1, "guard must be a finite number >= 0, got -0.1"),
        ("min_lr", 11.0, "max_lr must be a finite number >= 11, got 10.0; it bounds the rate from above"),
        ("max_lr", INFINITY, "max_lr must be a finite number >= 0.001, got inf"),
        ("mode", "mni", "mode must be one of 'min', 'max', got 'mni'"),
        ("threshold_mode", "relative", "threshold_mode must be one of 'abs', 'rel', 'rel_signed', got 'relative'"),
        ("stages", "stop", "stages must be one of 'hold', 'continue', 'silence', got 'stop'"),
        ("bounds", None, "bounds must be one of 'relative', 'absolute', got None"),
        ("non_finite", "raise", "non_finite must be one of 'bad', 'cut', 'ignore', 'compare', got 'raise'"),
        ("first_loss", "bad", "first_loss must be one of 'sets_best', 'good', got 'bad'"),
    ],
)
def test_parameter_out_of_range_is_refused(field: str, value: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        GreedyLRParameters(**{field: value})  # type: ignore[arg-type]


def test_negative_starting_rate_is_refused() -> None:
    with pytest.raises(ValueError, match="learning_rate must be a finite number >= 0, got -1"):
        initial_state(GreedyLRParameters(), -1.0)
