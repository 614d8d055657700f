"""Probe and rollback in a real training with torch: what comes back, what is told, how it resumes."""

import copy
import io
import math
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from greedylr import (
    CONTROLS,
    Decision,
    Envelope,
    GreedyLR,
    GreedyLRParameters,
    Preset,
    Probe,
    Provenance,
    RelativeRule,
    ResolvedSchedule,
    Rollback,
    Schedule,
    load_preset,
    load_schedule,
    write_schedule,
)

STEPS = 60
PROBE = Probe(share=0.2, lowest=0.25, highest=2.0**9, turn=0.5, back_off=0.5)
RULE = RelativeRule(factor=0.5, increase_factor=0.8, interval=0.0, window=0.0, threshold=0.0)
PLAIN = Schedule(envelope=Envelope(shape="wsd", ramp=0.05), rule=RULE)
SCHEDULES = {
    "probe": replace(PLAIN, probe=PROBE),
    "rollback": replace(PLAIN, rollback=Rollback(guard=0.5, limit=50)),
    "both": replace(PLAIN, probe=PROBE, rollback=Rollback(guard=0.5, limit=50)),
}


class Training:
    """A small network, its data and its optimizer; the batch of a step is the same in every one."""

    def __init__(self, *, rate: float = 0.002) -> None:
        torch.manual_seed(0)
        linear = torch.nn.Linear
        self.model = torch.nn.Sequential(linear(4, 8), torch.nn.BatchNorm1d(8), torch.nn.ReLU(), linear(8, 1))
        self.optimizer = torch.optim.AdamW(self.model.parameters(), lr=rate)

    def step(self, number: int) -> torch.Tensor:
        inputs = torch.randn(256, 4, generator=torch.Generator().manual_seed(number))
        loss = ((self.model(inputs) - inputs.sum(1, keepdim=True)) ** 2).mean()
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        return loss.detach()

    def contents(self) -> dict[str, torch.Tensor]:
        state = {f"{i}.{j}": value for i, held in enumerate(self.optimizer.state.values()) for j, value in held.items()}
        return copy.deepcopy({**self.model.state_dict(), **state})


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def saved_and_loaded(value: Any) -> Any:
    file = io.BytesIO()
    torch.save(value, file)
    file.seek(0)
    return torch.load(file, weights_only=True)


def resolved(name: str) -> ResolvedSchedule:
    return SCHEDULES[name].resolve(STEPS)


def test_sweep_leaves_no_trace_but_the_start() -> None:
    training, told = Training(), list[Decision]()
    before = training.contents()
    scheduler = GreedyLR(training.optimizer, resolved("probe"), model=training.model, on_change=told.append)
    step = 0
    while not told:
        assert not same(training.contents(), before) or step == 0
        scheduler.step(training.step(step))
        step += 1
    (decision,) = told
    assert same(training.contents(), before)
    assert (decision.kind, decision.step) == ("probe", step)
    assert decision.factor is not None
    assert decision.factor > 1  # 0.002 is far too low
    ramp = PLAIN.resolve(STEPS - step).envelope_multiplier(0)
    assert decision.new_rates == (pytest.approx(0.002 * decision.factor * ramp),)
    assert scheduler.get_last_lr() == list(decision.new_rates)
    # The copy is not needed any more.
    assert scheduler.state_dict()["snapshot"] is None


def test_after_the_sweep_the_run_is_one_of_the_steps_that_remain() -> None:
    training, alone = Training(), Training()
    scheduler = GreedyLR(training.optimizer, resolved("probe"), model=training.model)
    step = 0
    while scheduler.controller.sweep is not None:
        scheduler.step(training.step(step))
        step += 1
    alone.optimizer.param_groups[0]["lr"] = scheduler.controller.base_learning_rates[0]
    rest = GreedyLR(alone.optimizer, PLAIN.resolve(STEPS - step))
    for number in range(step, STEPS):
        scheduler.step(training.step(number))
        rest.step(alone.step(number))
        assert scheduler.get_last_lr() == rest.get_last_lr()
    assert same(training.contents(), alone.contents())


def test_sweep_in_which_nothing_happens_keeps_the_start_and_says_so() -> None:
    training, told = Training(), list[Decision]()
    scheduler = GreedyLR(training.optimizer, resolved("probe"), model=training.model, on_change=told.append)
    for _ in range(12):
        scheduler.step(2.0)
    assert [(decision.kind, decision.factor, decision.loss) for decision in told] == [("probe", 1.0, 2.0)]
    assert scheduler.controller.base_learning_rates == (0.002,)


@pytest.mark.parametrize("losses", [(math.nan,), (2.0, math.nan)])
def test_sweep_that_ends_before_there_was_a_best_tells_of_no_loss(losses: tuple[float, ...]) -> None:
    training, told = Training(), list[Decision]()
    scheduler = GreedyLR(training.optimizer, resolved("probe"), model=training.model, on_change=told.append)
    for loss in losses:
        scheduler.step(loss)
    (decision,) = told
    assert (decision.kind, decision.step) == ("probe", len(losses))
    assert decision.loss is not None
    assert math.isnan(decision.loss)


def test_weights_that_are_loaded_before_the_first_step_are_not_lost() -> None:
    training, trained = Training(), Training()
    for number in range(5):
        trained.step(number)
    scheduler = GreedyLR(training.optimizer, resolved("probe"), model=training.model)
    training.model.load_state_dict(trained.model.state_dict())
    loaded = copy.deepcopy(dict(training.model.named_parameters()))
    number = 0
    while scheduler.controller.sweep is not None:
        scheduler.step(training.step(number))
        number += 1
    assert number > 2
    for name, parameter in training.model.named_parameters():
        assert torch.equal(parameter, loaded[name])


def test_optimizer_state_that_is_loaded_before_the_first_step_is_not_lost() -> None:
    training, trained = Training(), Training()
    for number in range(5):
        trained.step(number)
    training.model.load_state_dict(trained.model.state_dict())
    scheduler = GreedyLR(training.optimizer, resolved("probe"), model=training.model)
    training.optimizer.load_state_dict(trained.optimizer.state_dict())
    number = 0
    while scheduler.controller.sweep is not None:
        scheduler.step(training.step(number))
        number += 1
    assert same(training.contents(), trained.contents())


@pytest.mark.parametrize("name", ["probe", "rollback"])
def test_run_resumes_after_a_group_has_joined(name: str) -> None:
    def begun(*, joined: bool) -> tuple[Training, GreedyLR]:
        training = Training()
        first, last = training.model[0], training.model[3]  # type: ignore[index]
        training.optimizer = torch.optim.AdamW(first.parameters(), lr=0.002)
        if joined:
            training.optimizer.add_param_group({"params": list(last.parameters()), "lr": 0.01})
        return training, GreedyLR(training.optimizer, resolved(name), model=training.model)

    training, scheduler = begun(joined=False)
    scheduler.step(training.step(0) * 0)  # nothing after it is a best
    training.optimizer.add_param_group({"params": list(training.model[3].parameters()), "lr": 0.01})  # type: ignore[index]
    for number in range(1, 4):
        scheduler.step(training.step(number) + 1)
    again, resumed = begun(joined=True)
    states = (training.model.state_dict(), training.optimizer.state_dict(), scheduler.state_dict())
    model, optimizer, state = saved_and_loaded(states)
    again.model.load_state_dict(model)
    again.optimizer.load_state_dict(optimizer)
    resumed.load_state_dict(state)
    for number in range(4, 30):
        for each, its in ((training, scheduler), (again, resumed)):
            its.step(spoiled(number, each.step(number)))
        assert scheduler.get_last_lr() == resumed.get_last_lr()
    assert same(training.contents(), again.contents())


def poisoned(training: Training, number: int) -> torch.Tensor:
    """A step whose gradient is NaN: the weights are lost with it."""
    for parameter in training.model.parameters():
        parameter.register_hook(lambda gradient: gradient * math.nan)
    return training.step(number)


@pytest.mark.parametrize("place", ["device", "host"])
def test_weights_and_moments_of_the_best_come_back_after_a_planted_nan(place: Any) -> None:
    training, told = Training(rate=0.02), list[Decision]()
    schedule = Schedule(rule=RULE, rollback=Rollback()).resolve(STEPS)
    scheduler = GreedyLR(training.optimizer, schedule, model=training.model, snapshots=place, on_decision=told.append)
    for number, loss in enumerate((3.0, 2.0, 1.0)):
        training.step(number)
        scheduler.step(loss)
    best = training.contents()
    training.step(3)
    scheduler.step(1.2)
    rate = scheduler.get_last_lr()[0]
    assert not same(training.contents(), best)
    with torch.no_grad():
        for parameter in training.model.parameters():
            parameter.fill_(math.nan)
    scheduler.step(math.nan)
    assert same(training.contents(), best)
    assert told[-1].kind == "rollback"
    assert (told[-1].step, told[-1].new_rates) == (5, (pytest.approx(rate / 2),))


def test_best_whose_own_step_ruined_the_weights_is_not_kept() -> None:
    training = Training(rate=0.02)
    schedule = Schedule(rule=RULE, rollback=Rollback()).resolve(STEPS)
    scheduler = GreedyLR(training.optimizer, schedule, model=training.model)
    training.step(0)
    scheduler.step(3.0)
    kept = training.contents()
    loss = poisoned(training, 1)
    assert math.isfinite(loss)
    assert torch.isnan(next(training.model.parameters())).all()
    scheduler.step(2.0)  # the best so far, of weights that are no more
    scheduler.step(math.nan)
    assert same(training.contents(), kept)


def test_training_that_fails_before_its_first_best_goes_back_to_its_start() -> None:
    training = Training()
    before = training.contents()
    schedule = Schedule(rule=RULE, rollback=Rollback()).resolve(STEPS)
    scheduler = GreedyLR(training.optimizer, schedule, model=training.model)
    training.step(0)
    scheduler.step(math.nan)
    assert same(training.contents(), before)


def test_giving_up_is_said_once_and_lets_the_copy_go() -> None:
    training, told = Training(), list[Decision]()
    schedule = Schedule(rule=RULE, rollback=Rollback(limit=2)).resolve(STEPS)
    scheduler = GreedyLR(training.optimizer, schedule, model=training.model, on_change=told.append)
    scheduler.step(1.0)
    with pytest.warns(UserWarning, match="gives up rolling back after 2 times") as warned:
        for number in range(6):
            training.step(number)
            scheduler.step(math.nan)
    assert len(warned) == 1
    assert [decision.kind for decision in told[:2]] == ["rollback", "rollback"]
    assert "rollback" not in [decision.kind for decision in told[2:]]
    state = scheduler.state_dict()
    assert (state["snapshot"], state["rollback"]["given_up"]) == (None, True)
    after = training.contents()
    scheduler.step(math.nan)
    assert same(training.contents(), after)


def spoiled(number: int, loss: torch.Tensor) -> torch.Tensor:
    """Losses with two accidents in them."""
    return loss * math.nan if number in (25, 41) else loss


def run(name: str, stop: int, *, place: Any = "device") -> tuple[list[Any], dict[str, torch.Tensor], Any]:
    """Train through with a stop: all is saved there, and another process, as it were, goes on."""
    training = Training()
    scheduler = GreedyLR(training.optimizer, resolved(name), model=training.model, snapshots=place)
    seen: list[Any] = []
    for number in range(STEPS):
        if number == stop:
            parts = (training.model.state_dict(), training.optimizer.state_dict(), scheduler.state_dict())
            model, optimizer, state = saved_and_loaded(parts)
            training = Training(rate=7.0)
            scheduler = GreedyLR(training.optimizer, resolved(name), model=training.model, snapshots=place)
            training.model.load_state_dict(model)
            training.optimizer.load_state_dict(optimizer)
            scheduler.load_state_dict(state)
        loss = training.step(number)
        scheduler.step(spoiled(number, loss))
        seen.append((loss.item(), scheduler.get_last_lr()[0]))
    return seen, training.contents(), scheduler.state_dict()


@pytest.mark.parametrize("place", ["device", "host"])
@pytest.mark.parametrize("name", list(SCHEDULES))
def test_run_resumes_bit_for_bit_wherever_it_was_stopped(name: str, place: Any) -> None:
    seen, contents, state = run(name, -1, place=place)
    if name != "probe":
        assert state["rollback"]["rollbacks"] >= 2
    # Before the first step, in the sweep, at its end, after bests, at and after a rollback.
    for stop in (0, 1, 5, 9, 12, 13, 20, 25, 26, 40, 55):
        again, their_contents, their_state = run(name, stop, place=place)
        assert again == seen
        assert same(their_contents, contents)
        assert repr({**their_state, "snapshot": None}) == repr({**state, "snapshot": None})


def test_state_decides_whether_there_is_something_to_restore() -> None:
    training = Training()
    first = GreedyLR(training.optimizer, resolved("both"), model=training.model)
    first.step(2.0)
    plain = GreedyLR(Training().optimizer, PLAIN.resolve(STEPS))
    before = repr(plain.state_dict())
    with pytest.raises(ValueError, match="model must be given where the schedule has a probe and a rollback"):
        plain.load_state_dict(first.state_dict())
    assert repr(plain.state_dict()) == before
    other = Training()
    plain = GreedyLR(other.optimizer, PLAIN.resolve(STEPS), model=other.model)
    with pytest.warns(UserWarning, match="resumes with the schedule that the run began with"):
        plain.load_state_dict(first.state_dict())
    assert plain.controller.planned == resolved("both")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        plain.load_state_dict(first.state_dict())


def test_resuming_after_the_sweep_is_resuming_the_same_schedule() -> None:
    training, other = Training(), Training()
    first = GreedyLR(training.optimizer, resolved("probe"), model=training.model)
    for number in range(20):
        first.step(training.step(number))
    second = GreedyLR(other.optimizer, resolved("probe"), model=other.model)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        second.load_state_dict(first.state_dict())
    assert repr(second.state_dict()) == repr(first.state_dict())


def test_state_of_version_1_goes_on_as_one_without_probe_and_rollback() -> None:
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.1)
    scheduler = GreedyLR(optimizer, PLAIN.resolve(STEPS))
    for number in range(20):
        scheduler.step(3.0 - number / 10)
    state = scheduler.state_dict()
    # What version 1 wrote: no such fields in the schedule, no such keys beside it.
    schedule = {k: v for k, v in state["schedule"].items() if k not in ("probe", "rollback", "relative")}
    old = {k: v for k, v in state.items() if k not in ("probe", "rollback", "snapshot")}
    old = {**old, "version": 1, "schedule": schedule}
    again = GreedyLR(torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.1), PLAIN.resolve(STEPS))
    again.load_state_dict(old)
    assert again.state_dict() == state
    with pytest.raises(ValueError, match="a scheduler state of version 1 has no probe; load a state that"):
        again.load_state_dict({**old, "probe": None})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda state: {"snapshot": None}, "snapshot of a scheduler state must be there .*, got none"),
        (lambda state: {"snapshot": {"weights": {}}}, "a snapshot has weights and optimizer, got"),
        (
            lambda state: {
                "schedule": {**state["schedule"], "relative": {**state["schedule"]["relative"], "probe": {}}}
            },
            "what a sweep leaves must be a run without a probe",
        ),
        (lambda state: {"probe": None}, "probe of a scheduler state has exactly the keys .*, got None"),
        (lambda state: {"probe": {**state["probe"], "sweep": {}}}, r"probe.sweep of a scheduler state has exactly"),
        (lambda state: {"probe": {**state["probe"], "start_multiplier": 0}}, "start_multiplier .* must be a finite"),
        (lambda state: {"probe": {**state["probe"], "swept_steps": 99}}, "swept_steps .* at most the steps of the"),
        (lambda state: {"step_count": 50}, "step_count .* must be below the steps of the sweep that goes on, got 50"),
        (lambda state: {"rollback": None}, "rollback of a scheduler state has exactly the keys"),
        (lambda state: {"rollback": {**state["rollback"], "given_up": 1}}, "rollback.given_up .* true or false, got 1"),
        (lambda state: {"rollback": {**state["rollback"], "best": "low"}}, "rollback.best .* must be a number, got"),
        (lambda state: {"rollback": {**state["rollback"], "rollbacks": -1}}, "rollbacks .* must be an integer >= 0"),
    ],
)
def test_state_that_cannot_be_is_refused_and_changes_nothing(
    change: Callable[[dict[str, Any]], dict[str, Any]], message: str
) -> None:
    training = Training()
    scheduler = GreedyLR(training.optimizer, resolved("both"), model=training.model)
    for number in range(3):
        scheduler.step(training.step(number))
    state = scheduler.state_dict()
    with pytest.raises(ValueError, match=message):
        scheduler.load_state_dict({**state, **change(state)})
    assert repr(scheduler.state_dict()) == repr(state)


def test_plain_state_with_a_snapshot_is_refused() -> None:
    training = Training()
    scheduler = GreedyLR(training.optimizer, PLAIN.resolve(STEPS), model=training.model)
    state = scheduler.state_dict()
    for change in ({"snapshot": {}}, {"probe": {}}, {"rollback": {}}):
        with pytest.raises(ValueError, match=r"snapshot of a scheduler state|must be None where the schedule has none"):
            scheduler.load_state_dict({**state, **change})


def test_what_cannot_be_restored_is_refused_when_the_scheduler_is_made() -> None:
    training = Training()
    for name, named in (("probe", "a probe"), ("rollback", "a rollback"), ("both", "a probe and a rollback")):
        with pytest.raises(ValueError, match=f"model must be given where the schedule has {named}, which restores wei"):
            GreedyLR(training.optimizer, resolved(name))

    class LooksLikeOne:
        param_groups = training.optimizer.param_groups

    with pytest.raises(ValueError, match=r"probe and rollback need an optimizer with a state .*, got LooksLikeOne"):
        GreedyLR(LooksLikeOne(), resolved("probe"), model=training.model)
    # It serves every other schedule, whatever it lacks.
    GreedyLR(LooksLikeOne(), PLAIN.resolve(STEPS), model=training.model)
    with pytest.raises(ValueError, match="snapshots must be one of 'device', 'host', got 'disk'"):
        GreedyLR(training.optimizer, resolved("probe"), model=training.model, snapshots="disk")  # type: ignore[arg-type]


def preset_of(schedule: Schedule) -> Preset:
    return Preset(name="restoring", schedule=schedule, provenance=Provenance(origin="test", greedylr_version="0.1.0"))


def test_preset_and_schedule_file_hand_the_model_on(tmp_path: Path) -> None:
    training = Training()
    preset = preset_of(SCHEDULES["both"])
    with pytest.raises(ValueError, match="model must be given where the schedule has a probe and a rollback"):
        preset.scheduler(training.optimizer, STEPS)
    assert training.optimizer.param_groups[0]["lr"] == 0.002
    assert preset.scheduler(training.optimizer, STEPS, model=training.model, snapshots="host").get_last_lr() == [0.0005]
    write_schedule(tmp_path / "preset.json", preset)
    other = Training()
    loaded = load_schedule(tmp_path / "preset.json")
    assert loaded.attach(other.optimizer, STEPS, model=other.model).get_last_lr() == [0.0005]


def test_preset_without_them_does_not_look_at_the_model() -> None:
    training, alone = Training(), Training()
    core = load_preset("core")
    with_model = core.scheduler(training.optimizer, STEPS, model=training.model)
    without = core.scheduler(alone.optimizer, STEPS)
    for number in range(STEPS):
        with_model.step(training.step(number))
        without.step(alone.step(number))
    assert with_model.get_last_lr() == without.get_last_lr()
    assert with_model.state_dict() == without.state_dict()
    assert same(training.contents(), alone.contents())


def test_control_may_have_a_probe() -> None:
    training = Training()
    schedule = Schedule(envelope=CONTROLS["cosine"].envelope, probe=PROBE).resolve(STEPS)
    scheduler = GreedyLR(training.optimizer, schedule, model=training.model)
    for number in range(STEPS):
        scheduler.step(training.step(number))
    assert scheduler.controller.start_multiplier > 1


def test_explored_factors_come_after_the_sweep() -> None:
    training, told = Training(), list[Decision]()
    scheduler = GreedyLR(
        training.optimizer, resolved("probe"), model=training.model, explore=3, on_decision=told.append
    )
    for number in range(STEPS):
        scheduler.step(training.step(number))
    kinds = [decision.kind for decision in told]
    assert kinds[0] == "probe"
    assert "explore" in kinds[1:]
    exploration = scheduler.controller.exploration
    assert exploration is not None
    swept = told[0].step
    assert [decision.step for decision in told if decision.kind == "explore"] == [
        moment.step + swept for moment in exploration.moments
    ]


@settings(deadline=None, max_examples=60)
@given(
    losses=st.lists(
        st.floats(-10, 10) | st.sampled_from([math.nan, math.inf, -math.inf, 1e300]), min_size=STEPS, max_size=STEPS
    ),
    rule=st.builds(
        GreedyLRParameters,
        factor=st.sampled_from([0.3, 0.9]),
        patience=st.integers(0, 2),
        mode=st.sampled_from(["min", "max"]),
        min_lr=st.sampled_from([0.05, 0.5]),
        max_lr=st.sampled_from([1.0, 4.0]),
        smooth=st.booleans(),
        window_size=st.integers(1, 5),
        guard=st.sampled_from([None, 0.2]),
        reset_start=st.sampled_from([None, 1]),
        non_finite=st.sampled_from(["bad", "cut", "ignore", "compare"]),
    ),
    guard=st.sampled_from([0.0, 0.5]),
    explore=st.none() | st.integers(0, 9),
)
@pytest.mark.filterwarnings("ignore:GreedyLR gives up")
def test_rate_never_leaves_its_bounds_with_both(
    losses: list[float], rule: GreedyLRParameters, guard: float, explore: int | None
) -> None:
    schedule = Schedule(rule=rule, probe=PROBE, rollback=Rollback(guard=guard)).resolve(STEPS)
    model = torch.nn.ParameterList([torch.zeros(1), torch.zeros(1)])
    optimizer = torch.optim.SGD([{"params": [model[0]], "lr": 0.1}, {"params": [model[1]], "lr": 0.4}])
    scheduler = GreedyLR(optimizer, schedule, model=model, explore=explore)
    for loss in losses:
        scheduler.step(loss)
        swept, chosen = scheduler.controller.sweep is not None, scheduler.controller.start_multiplier
        lower, upper = (PROBE.lowest, PROBE.highest) if swept else (chosen * rule.min_lr, chosen * rule.max_lr)
        for rate, start in zip(scheduler.get_last_lr(), (0.1, 0.4), strict=True):
            assert lower * start * (1 - 1e-9) <= rate <= upper * start * (1 + 1e-9)


class Elsewhere(torch.Tensor):
    """A loss on the CPU that says it lies on another device."""

    @property
    def is_cpu(self) -> bool:  # type: ignore[override]
        return False


@pytest.mark.parametrize("interval", [0.0, 0.1])
def test_losses_that_wait_on_a_device_change_nothing(interval: float) -> None:
    rule = replace(RULE, interval=interval, window=interval)
    schedule = Schedule(rule=rule, probe=PROBE, rollback=Rollback(guard=0.5, limit=50)).resolve(STEPS)
    here, there = Training(), Training()
    schedulers = [GreedyLR(each.optimizer, schedule, model=each.model) for each in (here, there)]
    for number in range(STEPS):
        schedulers[0].step(spoiled(number, here.step(number)))
        schedulers[1].step(spoiled(number, there.step(number)).as_subclass(Elsewhere))
        assert schedulers[0].get_last_lr() == schedulers[1].get_last_lr()
    assert same(here.contents(), there.contents())
    rollback = schedulers[0].controller.rollback
    assert rollback is not None
    assert rollback.rollbacks >= 1
