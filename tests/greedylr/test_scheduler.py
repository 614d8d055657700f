import doctest
import io
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import greedylr.scheduler
from greedylr import (
    CONTROLS,
    Envelope,
    GreedyLR,
    GreedyLRParameters,
    Preset,
    Provenance,
    RateController,
    RelativeRule,
    ResolvedSchedule,
    Schedule,
)
from greedylr.scheduler import schedule_hash

NAN = math.nan
AT_ONCE = GreedyLRParameters(factor=0.5, patience=0)


def sgd(*rates: float) -> torch.optim.Optimizer:
    return torch.optim.SGD([{"params": [torch.nn.Parameter(torch.zeros(1))], "lr": rate} for rate in rates])


def every(interval: int, parameters: GreedyLRParameters, total_steps: int = 100) -> ResolvedSchedule:
    return ResolvedSchedule(
        envelope=Envelope(),
        parameters=parameters,
        total_steps=total_steps,
        interval=interval,
        increase_until=total_steps,
        decide_until=total_steps,
    )


def multipliers_after(controller: RateController, losses: list[float | None]) -> list[float]:
    multipliers = []
    for loss in losses:
        controller.observe(loss)
        multipliers.append(controller.multiplier)
    return multipliers


def test_two_groups_keep_their_ratio_under_relative_bounds() -> None:
    optimizer = sgd(0.25, 0.5)
    scheduler = GreedyLR(optimizer, GreedyLRParameters(factor=0.5, patience=0, min_lr=0.5, max_lr=4.0))
    rates = []
    for loss in (4.0, 3.0, 2.0, 1.0, 9.0, 9.0, 9.0, 9.0):
        scheduler.step(loss)
        rates.append(tuple(group["lr"] for group in optimizer.param_groups))
    assert rates == [(0.25 * m, 0.5 * m) for m in (1, 2, 4, 4, 2, 1, 0.5, 0.5)]
    assert scheduler.get_last_lr() == [0.125, 0.25]


def test_two_groups_have_bounds_of_their_own_under_absolute_bounds() -> None:
    scheduler = GreedyLR(
        sgd(0.25, 1.0), GreedyLRParameters(factor=0.5, patience=0, bounds="absolute", min_lr=0.25, max_lr=1.5)
    )
    rates = []
    for loss in (4.0, 3.0, 2.0, 9.0, 9.0, 9.0):
        scheduler.step(loss)
        rates.append(scheduler.get_last_lr())
    assert rates == [[0.25, 1.0], [0.5, 1.5], [1.0, 1.5], [0.5, 0.75], [0.25, 0.375], [0.25, 0.25]]


def test_groups_under_absolute_bounds_reset_together_when_the_last_has_waited() -> None:
    scheduler = GreedyLR(
        sgd(0.5, 2.0), GreedyLRParameters(factor=0.5, patience=0, bounds="absolute", min_lr=0.5, reset_start=2)
    )
    rates = []
    for _ in range(6):
        scheduler.step(1.0)
        rates.append(scheduler.get_last_lr())
    assert rates == [[0.5, 2.0], [0.5, 1.0], [0.5, 0.5], [0.5, 2.0], [0.5, 2.0], [0.5, 1.0]]


def test_loss_may_be_a_tensor_that_still_has_its_graph() -> None:
    weight = torch.nn.Parameter(torch.tensor([4.0]))
    scheduler = GreedyLR(torch.optim.SGD([weight], lr=1.0), AT_ONCE)
    for scale in (1.0, 0.5, 0.25, 2.0):
        scheduler.step(scale * weight.sum())
    assert scheduler.get_last_lr() == [2.0]
    assert scheduler.state_dict()["states"][0][2] == 1.0


def test_rate_held_in_a_tensor_is_changed_in_place() -> None:
    rate = torch.tensor(0.5)
    optimizer = torch.optim.Adam([torch.nn.Parameter(torch.zeros(1))], lr=rate)
    scheduler = GreedyLR(optimizer, AT_ONCE)
    for loss in (2.0, 1.0):
        scheduler.step(loss)
    assert optimizer.param_groups[0]["lr"] is rate
    assert rate.item() == 1.0


def test_ramp_sets_the_rate_of_the_first_step_at_once() -> None:
    optimizer = sgd(0.8)
    GreedyLR(optimizer, CONTROLS["cosine"].resolve(80))
    assert optimizer.param_groups[0]["lr"] == 0.2


def test_step_without_loss_warns_once_and_decides_nothing() -> None:
    scheduler = GreedyLR(sgd(1.0), AT_ONCE)
    scheduler.step(4.0)
    before = scheduler.state_dict()
    with pytest.warns(UserWarning, match="without a loss decides nothing: pass the loss") as warned:
        for _ in range(3):
            scheduler.step()
    assert len(warned) == 1
    assert Path(warned[0].filename) == Path(__file__)
    assert scheduler.state_dict() == before | {"step_count": 4}
    scheduler.step(3.0)
    assert scheduler.get_last_lr() == [2.0]


def test_schedule_without_a_rule_needs_no_loss_and_does_not_warn(recwarn: pytest.WarningsRecorder) -> None:
    scheduler = GreedyLR(sgd(1.0), CONTROLS["linear"].resolve(4))
    rates = [scheduler.get_last_lr()]
    for _ in range(3):
        scheduler.step()
        rates.append(scheduler.get_last_lr())
    assert rates == [[1.0], [0.75], [0.5], [0.25]]
    assert not recwarn.list


def test_envelope_goes_on_while_losses_are_missing() -> None:
    schedule = Schedule(envelope=Envelope(shape="linear"), rule=AT_ONCE).resolve(8)
    controller = RateController(schedule, [1.0])
    for _ in range(4):
        controller.observe(None)
    assert controller.learning_rates == (0.5,)


def test_rule_sees_the_mean_of_the_window() -> None:
    parameters = GreedyLRParameters(factor=0.5, patience=0, smooth=True, window_size=2)
    # Means: 4, 3, 4, 4.5, 2.5.
    assert multipliers_after(RateController(every(1, parameters), [1.0]), [4, 2, 6, 3, 2]) == [1, 2, 1, 0.5, 1]


def test_rule_decides_once_an_interval_on_the_mean_of_the_window() -> None:
    parameters = GreedyLRParameters(factor=0.5, patience=0, smooth=True, window_size=2)
    losses: list[float | None] = [9, 4, 4, 9, 1, 3, 9, 0, 0]
    assert multipliers_after(RateController(every(3, parameters), [1.0]), losses) == [1, 1, 1, 1, 1, 2, 2, 2, 4]


def test_without_smoothing_the_last_loss_of_the_interval_decides() -> None:
    losses: list[float | None] = [1, 4, 9, 3, 0, 5]
    assert multipliers_after(RateController(every(2, AT_ONCE), [1.0]), losses) == [1, 1, 1, 2, 2, 1]


def test_loss_that_is_not_smoothed_reaches_the_rule_without_rounding() -> None:
    # As a running sum of one loss, (1e20 + 1.0) - 1e20 is 0.
    controller = RateController(every(1, AT_ONCE), [1.0])
    assert multipliers_after(controller, [2.0, 1e20, 1.0, 0.5]) == [1, 0.5, 1, 2]
    assert controller.state_dict()["window"] == {"values": [], "total": 0.0}


def test_huge_loss_leaves_the_mean_without_a_trace_once_it_has_left_the_window() -> None:
    parameters = GreedyLRParameters(factor=0.5, patience=0, smooth=True, window_size=2, min_lr=0.0)
    losses: list[float | None] = [4.0, 4.0, 1e20, 1e308, 1e308, 3.0, 3.0, 2.0]
    multipliers = multipliers_after(RateController(every(1, parameters), [1.0]), losses)
    # Means: 4, 4, 5e19, 5e307, overflow, 5e307, 3, 2.5.
    assert multipliers == [1, 0.5, 0.25, 0.125, 0.0625, 0.03125, 0.0625, 0.125]


def test_rule_of_transformers_keeps_a_nan_for_good_as_theirs_does() -> None:
    parameters = GreedyLRParameters.like_transformers(smooth=True, window_size=2, patience=0, factor=0.5)
    controller = RateController(every(1, parameters), [1.0])
    multipliers_after(controller, [4.0, NAN, 3.0, 2.0, 1.0, 0.5])
    assert math.isnan(controller.state_dict()["window"]["total"])


@pytest.mark.parametrize("loss", [NAN, math.inf, -math.inf])
def test_non_finite_loss_stays_out_of_the_mean(loss: float) -> None:
    parameters = GreedyLRParameters(factor=0.5, patience=1, smooth=True, window_size=3)
    controller = RateController(every(1, parameters), [1.0])
    assert multipliers_after(controller, [4, loss, 3, 2, 1]) == [1, 1, 1, 2, 2]
    assert controller.state_dict()["window"] == {"values": [3.0, 2.0, 1.0], "total": 6.0}


@pytest.mark.parametrize(
    ("non_finite", "expected"), [("bad", [1, 1, 1, 1, 1, 0.5]), ("cut", [1, 1, 1, 0.5, 0.5, 0.25])]
)
def test_non_finite_loss_anywhere_in_an_interval_makes_its_decision_a_non_finite_one(
    non_finite: str, expected: list[float]
) -> None:
    parameters = GreedyLRParameters(factor=0.5, patience=1, non_finite=non_finite)  # type: ignore[arg-type]
    losses: list[float | None] = [9, 4, NAN, 3, NAN, 2]
    assert multipliers_after(RateController(every(2, parameters), [1.0]), losses) == expected


def test_ignored_non_finite_loss_is_as_if_none_had_come() -> None:
    parameters = GreedyLRParameters(factor=0.5, patience=0, non_finite="ignore", smooth=True, window_size=2)
    with_nan, with_none = (RateController(every(2, parameters), [1.0]) for _ in range(2))
    assert multipliers_after(with_nan, [4, 4, 3, NAN, 3, NAN, 1]) == [1, 1, 1, 1, 2, 2, 2]
    assert multipliers_after(with_none, [4, 4, 3, None, 3, None, 1]) == [1, 1, 1, 1, 2, 2, 2]
    assert with_nan.state_dict() == with_none.state_dict()


def test_smoothing_begins_anew_after_a_reset() -> None:
    parameters = GreedyLRParameters(factor=0.5, patience=0, min_lr=0.5, reset_start=1, smooth=True, window_size=9)
    controller = RateController(every(1, parameters), [1.0])
    assert multipliers_after(controller, [1.0, 1.0, 7.0]) == [1, 1, 1]
    assert controller.state_dict()["window"] == {"values": [7.0], "total": 7.0}


def test_state_holds_plain_builtins_though_numpy_came_in() -> None:
    schedule = every(1, GreedyLRParameters(factor=np.float64(0.5), patience=0))
    controller = RateController(schedule, [np.float64(0.1)])
    controller.observe(np.float64(2.0))

    def plain(value: Any) -> bool:
        if isinstance(value, dict):
            return all(map(plain, value.values()))
        if isinstance(value, list):
            return all(map(plain, value))
        return value is None or type(value) in (bool, int, float, str)

    assert plain(controller.state_dict())


def saved_and_loaded(state: dict[str, Any]) -> dict[str, Any]:
    file = io.BytesIO()
    torch.save(state, file)
    file.seek(0)
    loaded: dict[str, Any] = torch.load(file, weights_only=True)
    return loaded


RESUMABLE = {
    "defaults": GreedyLRParameters(patience=1),
    "relative rule": Schedule(
        envelope=Envelope(shape="final_anneal", ramp=0.05),
        rule=RelativeRule(factor=0.7, increase_factor=0.85, patience=0.025, cooldown=0.05, guard=0.3),
    ).resolve(60),
    "three a decision": every(3, GreedyLRParameters(factor=0.5, patience=0, smooth=True, window_size=7)),
    "like transformers": GreedyLRParameters.like_transformers(
        patience=1, cooldown=1, warmup=2, smooth=True, window_size=4, reset_start=2, min_lr=0.05, factor=0.7
    ),
}


@pytest.mark.parametrize("schedule", RESUMABLE.values(), ids=RESUMABLE)
@settings(deadline=None)
@given(losses=st.lists(st.floats(-10, 10) | st.sampled_from([NAN, math.inf]), max_size=50), data=st.data())
def test_resumed_run_goes_on_exactly_as_if_it_had_never_stopped(
    schedule: ResolvedSchedule | GreedyLRParameters, losses: list[float], data: st.DataObject
) -> None:
    stop = data.draw(st.integers(0, len(losses)))
    through, stopped = GreedyLR(sgd(0.1, 0.4), schedule), GreedyLR(sgd(0.1, 0.4), schedule)
    for loss in losses[:stop]:
        through.step(loss)
        stopped.step(loss)
    # An optimizer whose checkpoint was loaded has the rates of the moment, not those the run began with.
    resumed = GreedyLR(sgd(0.3, 0.7), schedule)
    resumed.load_state_dict(saved_and_loaded(stopped.state_dict()))
    assert resumed.get_last_lr() == through.get_last_lr()
    for loss in losses[stop:]:
        through.step(loss)
        resumed.step(loss)
        assert resumed.get_last_lr() == through.get_last_lr()
    assert repr(resumed.state_dict()) == repr(through.state_dict())


def test_state_dict_hands_out_no_live_internal() -> None:
    scheduler = GreedyLR(sgd(0.1), GreedyLRParameters(smooth=True))
    scheduler.step(1.0)
    state = scheduler.state_dict()
    state["window"]["values"].append(9.0)
    state["states"][0][0] = 9.0
    state["schedule"]["interval"] = 9
    assert scheduler.state_dict()["window"]["values"] == [1.0]
    assert scheduler.state_dict()["states"][0][0] == 1.0
    assert scheduler.state_dict()["schedule"]["interval"] == 1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"typo": 1}, r"exactly the keys .*, got .*'typo'.*load a state that state_dict\(\) of this version made"),
        (
            {"version": 3},
            "version of a scheduler state must be 1 or 2, got 3; resume with the greedylr that the run began",
        ),
        ({"step_count": -1}, "step_count of a scheduler state must be an integer >= 0, got -1"),
        ({"step_count": "3"}, "step_count of a scheduler state must be an integer >= 0, got '3'"),
        ({"base_learning_rates": [math.nan]}, "learning_rate must be a finite number"),
        ({"non_finite_since_decision": 0}, "must be true or false, got 0"),
        ({"schedule": {}}, "schedule.envelope is missing"),
        ({"bounds": [[1.0]]}, r"bounds\[0\] must have 2 entries"),
        ({"bounds": [[2.0, 1.0]]}, "max_lr must be a finite number >= 2"),
        ({"exploration": {"moments": [[1, 9.0]]}}, "exploration.moments"),
        ({"preset": {"name": "x"}}, "preset.content_hash is missing"),
        ({"states": [["a"] * 10]}, "states.learning_rate of a scheduler state must be a number"),
        ({"window": {"values": []}}, "the window of a scheduler state has exactly the keys"),
        ({"states": []}, "states of a scheduler state must have 1 entries, got 0"),
        ({"states": [[1.0, 1.0]]}, "each of states must hold learning_rate, initial_learning_rate, best"),
        ({"base_learning_rates": [0.1, 0.1]}, "base_learning_rates of a scheduler state must have 1 entries, got 2"),
    ],
)
def test_corrupt_state_is_refused_and_changes_nothing(change: dict[str, Any], message: str) -> None:
    scheduler = GreedyLR(sgd(0.1), AT_ONCE)
    scheduler.step(1.0)
    before = scheduler.state_dict()
    with pytest.raises(ValueError, match=message):
        scheduler.load_state_dict(before | {"step_count": 77} | change)
    assert scheduler.state_dict() == before


@pytest.mark.parametrize("missing", GreedyLR(sgd(0.1)).state_dict())
def test_state_with_a_missing_key_is_refused(missing: str) -> None:
    scheduler = GreedyLR(sgd(0.1))
    state = {key: value for key, value in scheduler.state_dict().items() if key != missing}
    with pytest.raises(ValueError, match="a scheduler state has exactly the keys"):
        scheduler.load_state_dict(state)


def test_schedule_of_the_state_wins_over_a_newer_one_with_a_warning() -> None:
    old, new = CONTROLS["plateau_anneal"].resolve(400), CONTROLS["plateau_anneal"].resolve(800)
    through, stopped = GreedyLR(sgd(0.1), old), GreedyLR(sgd(0.1), old)
    losses = [2.0 + (step % 7) / 10 for step in range(400)]
    for loss in losses[:150]:
        through.step(loss)
        stopped.step(loss)
    resumed = GreedyLR(sgd(0.1), new)
    hashes = rf"began with, schedule {schedule_hash(old)}, not with schedule {schedule_hash(new)}; start a new run"
    with pytest.warns(UserWarning, match=hashes):
        resumed.load_state_dict(saved_and_loaded(stopped.state_dict()))
    assert resumed.controller.schedule == old
    for loss in losses[150:]:
        through.step(loss)
        resumed.step(loss)
        assert resumed.get_last_lr() == through.get_last_lr()
    assert through.get_last_lr()[0] < 0.001


def test_preset_of_the_state_wins_and_both_hashes_are_named() -> None:
    newer = replace(PRESET, name="newer", schedule=Schedule(rule=RelativeRule(factor=0.7)))
    state = PRESET.scheduler(sgd(0.1), 100).state_dict()
    assert state["preset"] == {"name": "steady", "content_hash": PRESET.content_hash}
    scheduler = newer.scheduler(sgd(0.1), 100)
    with pytest.warns(
        UserWarning, match=rf"'steady' {PRESET.content_hash} .* not with preset 'newer' {newer.content_hash}"
    ):
        scheduler.load_state_dict(state)
    assert scheduler.state_dict() == state


def test_state_of_another_number_of_groups_is_refused() -> None:
    with pytest.raises(ValueError, match="resume with as many parameter groups as the run began with"):
        GreedyLR(sgd(0.1, 0.1), AT_ONCE).load_state_dict(GreedyLR(sgd(0.1), AT_ONCE).state_dict())


def added(optimizer: torch.optim.Optimizer, rate: float) -> None:
    optimizer.add_param_group({"params": [torch.nn.Parameter(torch.zeros(1))], "lr": rate})


def test_group_added_later_joins_at_its_own_rate_times_the_multiplier_and_the_envelope() -> None:
    optimizer = sgd(0.5)
    schedule = Schedule(envelope=Envelope(shape="linear"), rule=AT_ONCE).resolve(8)
    scheduler = GreedyLR(optimizer, schedule)
    for loss in (3.0, 2.0):
        scheduler.step(loss)
    assert scheduler.get_last_lr() == [0.5 * 2 * 0.75]
    added(optimizer, 0.25)
    scheduler.step(1.0)
    assert scheduler.get_last_lr() == [0.5 * 4 * 0.625, 0.25 * 4 * 0.625]
    resumed = GreedyLR(sgd(0.5, 0.25), schedule)
    resumed.load_state_dict(scheduler.state_dict())
    assert resumed.get_last_lr() == scheduler.get_last_lr()


def test_group_added_later_under_absolute_bounds_keeps_to_them() -> None:
    optimizer = sgd(0.25)
    scheduler = GreedyLR(
        optimizer, GreedyLRParameters(factor=0.5, patience=0, bounds="absolute", min_lr=0.25, max_lr=1.5)
    )
    for loss in (4.0, 3.0):
        scheduler.step(loss)
    added(optimizer, 1.0)
    with pytest.warns(UserWarning, match="without a loss"):
        scheduler.step()
    assert scheduler.get_last_lr() == [0.5, 1.5]
    for loss in (9.0, 9.0, 9.0):
        scheduler.step(loss)
    assert scheduler.get_last_lr() == [0.25, 0.25]


def test_group_taken_away_is_refused() -> None:
    optimizer = sgd(0.1, 0.2)
    scheduler = GreedyLR(optimizer, AT_ONCE)
    del optimizer.param_groups[1]
    with pytest.raises(ValueError, match=r"must keep the 2 parameter groups .*, got 1; make a new scheduler"):
        scheduler.step(1.0)


def test_groups_move_within_bounds_of_their_own() -> None:
    parameters = GreedyLRParameters(factor=0.5, patience=0)
    scheduler = GreedyLR(sgd(0.5, 0.5), parameters, min_lr=[0.5, 1.0], max_lr=[2.0, 8.0])
    rates = []
    for loss in (4.0, 3.0, 2.0, 1.0, 9.0, 9.0, 9.0, 9.0):
        scheduler.step(loss)
        rates.append(scheduler.get_last_lr())
    assert rates == [
        [0.5 * a, 0.5 * b] for a, b in zip((1, 2, 2, 2, 1, 0.5, 0.5, 0.5), (1, 2, 4, 8, 4, 2, 1, 1), strict=True)
    ]
    resumed = GreedyLR(sgd(0.5, 0.5), parameters, min_lr=[0.1, 0.1], max_lr=[9.0, 9.0])
    resumed.load_state_dict(saved_and_loaded(scheduler.state_dict()))
    assert resumed.state_dict() == scheduler.state_dict()


@pytest.mark.parametrize(
    ("bounds", "message"),
    [
        ({"min_lr": [0.1]}, "min_lr must be a list of one number for each of the 2 parameter groups"),
        ({"max_lr": 3.0}, "max_lr must be a list .*bounds for all groups belong into the schedule"),
        ({"min_lr": [2.0, 1.0], "max_lr": [1.0, 1.0]}, "max_lr must be a finite number >= 2"),
    ],
)
def test_bounds_that_cannot_be_are_refused(bounds: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        GreedyLR(sgd(0.1, 0.1), AT_ONCE, **bounds)


def test_groups_that_share_one_tensor_get_their_own_rates() -> None:
    rate = torch.tensor(0.5)
    optimizer = torch.optim.Adam(
        [{"params": [torch.nn.Parameter(torch.zeros(1))]}, {"params": [torch.nn.Parameter(torch.zeros(1))]}], lr=rate
    )
    scheduler = GreedyLR(optimizer, AT_ONCE, max_lr=[1.0, 4.0])
    for loss in (3.0, 2.0, 1.0):
        scheduler.step(loss)
    assert scheduler.get_last_lr() == [0.5, 2.0]
    assert optimizer.param_groups[0]["lr"] is rate


class LooksLikeAnOptimizer:
    """What DeepSpeed, FSDP and bitsandbytes have in common with torch's optimizers."""

    def __init__(self, rate: Any) -> None:
        self.param_groups = [{"lr": rate, "params": []}]


def test_whatever_has_parameter_groups_is_an_optimizer() -> None:
    scheduler = GreedyLR(LooksLikeAnOptimizer(0.5), AT_ONCE)
    for loss in (2.0, 1.0):
        scheduler.step(loss)
    assert scheduler.get_last_lr() == [1.0]


@pytest.mark.parametrize(
    "thing", [None, torch.nn.Linear(1, 1), [{"lr": 0.1}], type("Odd", (), {"param_groups": [{}]})()]
)
def test_what_has_no_parameter_groups_is_refused(thing: Any) -> None:
    with pytest.raises(
        ValueError, match=r"optimizer must have param_groups, a list of dicts .*pass the optimizer itself"
    ):
        GreedyLR(thing)


@pytest.mark.parametrize("rate", ["fast", None, torch.zeros(2)])
def test_rate_that_is_not_one_number_is_refused(rate: Any) -> None:
    with pytest.raises(ValueError, match="lr of a parameter group must be one number"):
        GreedyLR(LooksLikeAnOptimizer(rate))


@pytest.mark.parametrize(
    "loss", ["1.0", [1.0], torch.zeros(2), torch.zeros(1, dtype=torch.complex64), object(), 10**400]
)
def test_loss_that_is_not_one_number_is_refused_and_changes_nothing(loss: Any) -> None:
    scheduler = GreedyLR(sgd(0.1), AT_ONCE)
    scheduler.step(1.0)
    before = scheduler.state_dict()
    with pytest.raises(ValueError, match="loss must be one real number, got"):
        scheduler.step(loss)
    assert scheduler.state_dict() == before


def test_schedule_that_is_not_resolved_is_refused_with_the_remedy() -> None:
    with pytest.raises(ValueError, match=r"schedule must be a ResolvedSchedule .* got Schedule; .*schedule.resolve"):
        GreedyLR(sgd(0.1), CONTROLS["cosine"])  # type: ignore[arg-type]


@pytest.mark.parametrize("rate", [0.0, -0.1, NAN, math.inf])
def test_starting_rate_that_is_not_above_zero_is_refused(rate: float) -> None:
    with pytest.raises(ValueError, match="learning_rate must be"):
        RateController(every(1, AT_ONCE), [rate])


PRESET = Preset(
    name="steady",
    schedule=Schedule(rule=RelativeRule(factor=0.5)),
    learning_rate=0.3,
    provenance=Provenance(origin="test", greedylr_version="0.1.0"),
)


def test_preset_starts_from_the_rate_of_the_optimizer_unless_told_otherwise() -> None:
    assert PRESET.scheduler(sgd(0.1, 0.7), 100).get_last_lr() == [0.1, 0.7]
    assert PRESET.scheduler(sgd(0.1, 0.7), 100, use_learning_rate=True).get_last_lr() == pytest.approx([0.3, 2.1])
    assert PRESET.scheduler(sgd(0.7), 100, use_learning_rate=True).get_last_lr() == [0.3]


@pytest.mark.parametrize(
    ("rates", "total_steps", "message"),
    [
        ((0.1,), 1, "decisions for the rate to move"),
        ((0.0, 0.1), 100, "learning_rate must be > 0, got 0"),
        ((0.1, 0.0), 100, "learning_rate must be > 0, got 0"),
    ],
)
def test_preset_that_cannot_serve_a_run_leaves_the_optimizer_as_it_was(
    rates: tuple[float, ...], total_steps: int, message: str
) -> None:
    optimizer = sgd(*rates)
    with pytest.raises(ValueError, match=message):
        PRESET.scheduler(optimizer, total_steps, use_learning_rate=True)
    assert tuple(group["lr"] for group in optimizer.param_groups) == rates


def test_example_in_the_docstring_runs() -> None:
    results = doctest.testmod(greedylr.scheduler)
    assert results.attempted > 0
    assert results.failed == 0


def test_what_a_scheduler_would_only_need_later_is_refused_at_once() -> None:
    for name, message in (
        ("on_change", "on_change must be a function of a Decision, got 3; None tells nobody"),
        ("on_decision", "on_decision must be a function of a Decision, got 3; None tells nobody"),
        ("preset", "preset must be of type PresetIdentity or None, got 3; preset.scheduler"),
        ("snapshots", "snapshots must be one of 'device', 'host', got 3"),
    ):
        optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.1)
        with pytest.raises(ValueError, match=message):
            GreedyLR(optimizer, **{name: 3})  # type: ignore[arg-type]
        scheduler = GreedyLR(optimizer)
        if name.startswith("on_"):
            with pytest.raises(ValueError, match=message):
                setattr(scheduler, name, 3)
