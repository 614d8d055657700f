import math
from typing import Any, get_args

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from greedylr import CONTROLS, Envelope, GreedyLR, GreedyLRParameters, RelativeRule, Schedule
from greedylr.schedules import FURTHER_CONTROLS, NAMED_CONTROLS, PRIMARY_CONTROL, Shape

TOTAL = 200


def multipliers(envelope: Envelope, steps: tuple[int, ...], total_steps: int = TOTAL) -> list[float]:
    return [envelope.multiplier(step, total_steps) for step in steps]


def sgd(*rates: float) -> torch.optim.Optimizer:
    return torch.optim.SGD([{"params": [torch.nn.Parameter(torch.zeros(1))], "lr": rate} for rate in rates])


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        ("constant", [1, 1, 1, 1, 1, 1]),
        ("linear", [1, 0.75, 0.5, 0.25, 0.1, 0.005]),
        ("cosine", [1, 0.8535533905932737, 0.5, 0.1464466094067262, 0.024471741852423234, 6.168375916970619e-05]),
        ("step", [1, 1, 0.1, 0.01, 0.01, 0.01]),
        ("wsd", [1, 1, 1, 1, 0.5, 0.025]),
        ("final_anneal", [1, 1, 1, 1, 0.5, 0.025]),
        (
            "inverse_sqrt",
            [1, 0.14002800840280097, 0.09950371902099892, 0.08137884587711594, 0.0743294146247166, 0.0707],
        ),
        # Rises from 1/25 over 60 steps, falls over 140 to 4e-6.
        ("one_cycle", [0.04, 0.9356921938165306, 0.8117456539497631, 0.2831260468857436, 0.0495175, 0.00012987]),
        ("exponential", [1, 0.31622776601683794, 0.1, 0.03162277660168379, 0.01584893192461114, 0.010232929922807547]),
        ("polynomial", [1, 0.5625, 0.25, 0.0625, 0.01, 2.5e-5]),
        # Cycles of 200/7, 400/7 and 800/7 steps: at 50 three eighths through the second, at 100 an eighth through the
        # third.
        ("cosine_restarts", [1, 0.6913417161825449, 0.9619397662556434, 0.4024548389919359, 0.0736798, 0.000188816]),
    ],
)
def test_envelope_without_ramp(shape: Shape, expected: list[float]) -> None:
    assert multipliers(Envelope(shape=shape), (0, 50, 100, 150, 180, 199)) == pytest.approx(expected, rel=1e-3)


@pytest.mark.parametrize("shape", sorted({*get_args(Shape)} - {"one_cycle"}))
def test_ramp_rises_in_equal_steps_from_one_share_to_the_full_rate(shape: Shape) -> None:
    rising = multipliers(Envelope(shape=shape, ramp=0.02), (0, 1, 2, 3))
    assert rising == [0.25, 0.5, 0.75, 1.0]


def test_linear_and_cosine_fall_from_the_end_of_the_ramp() -> None:
    falling = multipliers(Envelope(shape="linear", ramp=0.5), (99, 100, 101, 150, 199))
    assert falling == pytest.approx([1, 1, 0.99, 0.5, 0.01])
    assert multipliers(Envelope(shape="cosine", ramp=0.5), (99, 100, 150)) == pytest.approx([1, 1, 0.5])


def test_inverse_square_root_falls_from_the_end_of_the_ramp() -> None:
    envelope = Envelope(shape="inverse_sqrt", ramp=0.02)
    assert multipliers(envelope, (3, 15, 35, 99)) == [1, 0.5, 1 / 3, 0.2]


def test_decay_share_is_the_length_of_the_final_decay() -> None:
    envelope = Envelope(shape="wsd", decay_share=0.5)
    assert multipliers(envelope, (99, 100, 101, 150, 199)) == pytest.approx([1, 1, 0.99, 0.5, 0.01])


def test_steps_past_the_plan_keep_the_last_multiplier() -> None:
    for shape in ("cosine", "linear", "wsd"):
        last, later, far = multipliers(Envelope(shape=shape), (199, 200, 10_000))
        assert last == later == far > 0


@pytest.mark.parametrize(
    ("shape", "make"),
    [("cosine", "get_cosine_schedule_with_warmup"), ("linear", "get_linear_schedule_with_warmup")],
)
def test_envelope_equals_transformers_from_the_end_of_the_ramp_and_is_one_step_ahead_within(
    shape: Shape, make: str
) -> None:
    optimization = pytest.importorskip("transformers.optimization", reason="transformers is not installed")
    theirs = getattr(optimization, make)(sgd(1.0), num_warmup_steps=10, num_training_steps=TOTAL).lr_lambdas[0]
    envelope = Envelope(shape=shape, ramp=0.05)
    assert multipliers(envelope, tuple(range(10, TOTAL))) == pytest.approx([theirs(s) for s in range(10, TOTAL)])
    assert multipliers(envelope, tuple(range(10))) == pytest.approx([theirs(step + 1) for step in range(10)])
    # What the shift is for: theirs trains nothing in its first step.
    assert theirs(0) == 0


def test_inverse_square_root_is_one_step_ahead_of_transformers_throughout() -> None:
    optimization = pytest.importorskip("transformers.optimization", reason="transformers is not installed")
    theirs = optimization.get_inverse_sqrt_schedule(sgd(1.0), num_warmup_steps=10).lr_lambdas[0]
    expected = [theirs(step + 1) for step in range(TOTAL)]
    assert multipliers(Envelope(shape="inverse_sqrt", ramp=0.05), tuple(range(TOTAL))) == pytest.approx(expected)


def rates_of_torch(scheduler: torch.optim.lr_scheduler.LRScheduler, optimizer: torch.optim.Optimizer) -> list[float]:
    rates = []
    for _ in range(TOTAL):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return rates


def test_cosine_and_step_equal_those_of_torch() -> None:
    optimizer = sgd(1.0)
    cosine = rates_of_torch(torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=TOTAL), optimizer)
    assert multipliers(Envelope(shape="cosine"), tuple(range(TOTAL))) == pytest.approx(cosine)
    optimizer = sgd(1.0)
    step = rates_of_torch(torch.optim.lr_scheduler.MultiStepLR(optimizer, [100, 150], gamma=0.1), optimizer)
    assert multipliers(Envelope(shape="step"), tuple(range(TOTAL))) == pytest.approx(step)


def test_exponential_polynomial_and_restarts_equal_those_of_torch() -> None:
    schedulers = torch.optim.lr_scheduler
    optimizer = sgd(1.0)
    exponential = rates_of_torch(schedulers.ExponentialLR(optimizer, gamma=0.01 ** (1 / TOTAL)), optimizer)
    assert multipliers(Envelope(shape="exponential"), tuple(range(TOTAL))) == pytest.approx(exponential)
    optimizer = sgd(1.0)
    polynomial = rates_of_torch(schedulers.PolynomialLR(optimizer, total_iters=TOTAL, power=2), optimizer)
    assert multipliers(Envelope(shape="polynomial"), tuple(range(TOTAL))) == pytest.approx(polynomial)
    optimizer = sgd(1.0)
    restarts = rates_of_torch(schedulers.CosineAnnealingWarmRestarts(optimizer, T_0=30, T_mult=2), optimizer)
    ours = multipliers(Envelope(shape="cosine_restarts"), tuple(range(TOTAL)), total_steps=210)
    assert ours == pytest.approx(restarts)


def test_polynomial_equals_that_of_transformers_from_the_end_of_the_ramp() -> None:
    optimization = pytest.importorskip("transformers.optimization", reason="transformers is not installed")
    theirs = optimization.get_polynomial_decay_schedule_with_warmup(
        sgd(1.0), num_warmup_steps=10, num_training_steps=TOTAL, lr_end=0.0, power=2
    ).lr_lambdas[0]
    ours = multipliers(Envelope(shape="polynomial", ramp=0.05), tuple(range(10, TOTAL)))
    assert ours == pytest.approx([theirs(step) for step in range(10, TOTAL)])


def test_one_cycle_is_that_of_torch_at_most_one_step_later() -> None:
    optimizer = sgd(1.0)
    torchs = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=1.0, total_steps=TOTAL, cycle_momentum=False)
    expected = rates_of_torch(torchs, optimizer)
    ours = multipliers(Envelope(shape="one_cycle"), tuple(range(TOTAL)))
    assert ours[0] == pytest.approx(expected[0])
    assert ours[60] == expected[59] == 1.0
    assert max(abs(one - other) for one, other in zip(ours, expected, strict=True)) < 0.03
    assert expected[-1] < ours[-1] < 2e-4


@settings(deadline=None)
@given(
    st.sampled_from(get_args(Shape)),
    st.floats(0, 1, exclude_max=True),
    st.floats(0.01, 1),
    st.integers(1, 10_000),
    st.integers(0, 20_000),
)
def test_multiplier_lies_above_zero_and_not_above_one(
    shape: Shape, ramp: float, decay_share: float, total_steps: int, step: int
) -> None:
    envelope = Envelope(shape=shape, ramp=ramp, decay_share=decay_share)
    assert 0 < envelope.multiplier(step, total_steps) <= 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"shape": "cosin"}, "envelope.shape must be one of 'constant', .*, got 'cosin'"),
        ({"ramp": 1.0}, "envelope.ramp must be < 1 and envelope.decay_share > 0, got 1.0 and 0.2"),
        ({"ramp": -0.1}, "envelope.ramp must be a finite number >= 0, got -0.1"),
        ({"ramp": 5}, r"envelope.ramp is a share of the run and must lie in \[0, 1\], got 5"),
        ({"decay_share": 0.0}, "envelope.ramp must be < 1 and envelope.decay_share > 0, got 0.0 and 0.0"),
        ({"decay_share": math.nan}, "envelope.decay_share must be a finite number >= 0, got nan"),
    ],
)
def test_envelope_out_of_range_is_refused(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Envelope(**arguments)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"patience": 3}, r"rule.patience is a share of the run and must lie in \[0, 1\], got 3"),
        ({"window": -0.1}, "rule.window must be a finite number >= 0, got -0.1"),
        ({"increase_until": 1.1}, r"rule.increase_until is a share of the run and must lie in \[0, 1\], got 1.1"),
        ({"factor": 2.0}, r"rule.factor must lie in \(0, 1\], got 2.0"),
        ({"threshold_mode": "rel_signed"}, "rule.threshold_mode must be one of 'abs', 'rel', got 'rel_signed'"),
        ({"threshold": 1.0, "threshold_mode": "rel"}, "rule.threshold must be < 1 where it is relative, got 1.0"),
        ({"min_lr": 2.0}, "must have 1 between them, got 2.0 and 10.0"),
        ({"max_lr": 0.5}, "must have 1 between them, got 0.01 and 0.5"),
        ({"min_lr": 0.9, "max_lr": 0.5}, "max_lr must be a finite number >= 0.9, got 0.5"),
        ({"guard": -1.0}, "guard must be a finite number >= 0, got -1.0"),
    ],
)
def test_relative_rule_out_of_range_is_refused(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        RelativeRule(**{"factor": 0.5, **arguments})


RULE = RelativeRule(factor=0.7, patience=0.05, cooldown=0.1, warmup=0.025, increase_until=0.4)


def counts_of(rule: RelativeRule, total_steps: int, steps_per_evaluation: int = 1) -> dict[str, int]:
    resolved = Schedule(rule=rule).resolve(total_steps, steps_per_evaluation=steps_per_evaluation)
    assert resolved.parameters is not None
    return {
        "interval": resolved.interval,
        "window": resolved.parameters.window_size,
        "patience": resolved.parameters.patience,
        "cooldown": resolved.parameters.cooldown,
        "warmup": resolved.parameters.warmup,
        "increase_until": resolved.increase_until,
    }


def test_shares_become_decisions_evaluations_and_steps() -> None:
    at_each_step = counts_of(RULE, 400)
    assert at_each_step == {
        "interval": 10,
        "window": 32,
        "patience": 2,
        "cooldown": 4,
        "warmup": 1,
        "increase_until": 160,
    }
    long = counts_of(RULE, 100_000)
    assert long == at_each_step | {"interval": 2500, "window": 8000, "increase_until": 40_000}


def test_run_evaluated_each_epoch_decides_each_epoch() -> None:
    forty_epochs = counts_of(RULE, 40 * 250, steps_per_evaluation=250)
    assert forty_epochs == {
        "interval": 1,
        "window": 3,
        "patience": 2,
        "cooldown": 4,
        "warmup": 1,
        "increase_until": 4000,
    }
    assert counts_of(RULE, 10, steps_per_evaluation=1)["patience"] == 0


def test_window_of_zero_averages_nothing_and_interval_of_zero_decides_at_each_evaluation() -> None:
    resolved = Schedule(rule=RelativeRule(factor=0.5, window=0, interval=0, patience=0.1)).resolve(400)
    assert resolved.parameters is not None
    assert (resolved.interval, resolved.parameters.smooth, resolved.parameters.window_size) == (1, False, 1)
    assert resolved.parameters.patience == 40


def test_resolved_rule_keeps_what_is_no_length() -> None:
    rule = RelativeRule(
        factor=0.7,
        increase_factor=0.85,
        threshold=1e-4,
        threshold_mode="rel",
        min_lr=1e-3,
        max_lr=30.0,
        stages="continue",
        guard=0.3,
        non_finite="cut",
    )
    assert Schedule(rule=rule).resolve(400).parameters == GreedyLRParameters(
        factor=0.7,
        increase_factor=0.85,
        patience=0,
        threshold=1e-4,
        threshold_mode="rel",
        min_lr=1e-3,
        max_lr=30.0,
        stages="continue",
        smooth=True,
        window_size=32,
        guard=0.3,
        non_finite="cut",
    )


@pytest.mark.parametrize(
    ("schedule", "total_steps", "steps_per_evaluation", "message"),
    [
        (Schedule(rule=RULE), 1, 1, r"at least patience \+ 2 = 2 decisions for the rate to move, got 1 "),
        (
            Schedule(rule=RULE),
            400,
            500,
            r"patience \+ 2 = 2 decisions .*, got 0 \(total_steps=400, steps_per_evaluation=500\)",
        ),
        (Schedule(rule=RelativeRule(factor=0.5, patience=1.0)), 400, 1, r"patience \+ 2 = 42 decisions .*, got 40 "),
        # 40 decisions would do, but the anneal leaves 32.
        (
            Schedule(envelope=Envelope(shape="final_anneal"), rule=RelativeRule(factor=0.5, patience=0.8)),
            400,
            1,
            r"patience \+ 2 = 34 decisions .*, got 32 .*evaluate more often or train longer",
        ),
        (Schedule(), 0, 1, "total_steps must be an integer >= 1, got 0"),
        (Schedule(), 10, 0, "steps_per_evaluation must be an integer >= 1, got 0"),
    ],
)
def test_run_too_short_for_the_rate_to_move_is_refused(
    schedule: Schedule, total_steps: int, steps_per_evaluation: int, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        schedule.resolve(total_steps, steps_per_evaluation=steps_per_evaluation)


def test_shortest_run_that_is_taken_moves_the_rate() -> None:
    rule = RelativeRule(factor=0.5, patience=0.8, window=0)
    scheduler = GreedyLR(sgd(1.0), Schedule(rule=rule).resolve(400))
    for _ in range(400):
        scheduler.step(1.0)
    assert scheduler.get_last_lr() == [0.5]


def test_final_anneal_stops_the_rule_and_wsd_does_not() -> None:
    rule = RelativeRule(factor=0.5, interval=0.1, window=0, min_lr=1e-6)
    stopped, going_on = (
        GreedyLR(sgd(1.0), Schedule(envelope=Envelope(shape=shape), rule=rule).resolve(TOTAL)).controller
        for shape in ("final_anneal", "wsd")
    )
    for _ in range(TOTAL):
        stopped.observe(1.0)
        going_on.observe(1.0)
    # Ten decisions, the first sets the best; the last two fall into the anneal.
    assert (stopped.multiplier, going_on.multiplier) == (0.5**7, 0.5**9)


def test_last_raise_is_made_at_the_step_until_which_raises_are_allowed() -> None:
    rule = RelativeRule(factor=0.5, interval=0.25, window=0, increase_until=0.5)
    controller = GreedyLR(sgd(1.0), Schedule(rule=rule).resolve(8)).controller
    multipliers = []
    for loss in (9, 9, 8, 8, 7, 7, 6, 6):
        controller.observe(loss)
        multipliers.append(controller.multiplier)
    assert multipliers == [1, 1, 1, 2, 2, 2, 2, 2]


def test_rate_is_start_times_envelope_times_multiplier() -> None:
    schedule = Schedule(
        envelope=Envelope(shape="linear", ramp=0.25),
        rule=RelativeRule(factor=0.5, interval=0.125, window=0, increase_until=0.5),
    )
    scheduler = GreedyLR(sgd(4.0), schedule.resolve(8))
    rates = [scheduler.get_last_lr()[0]]
    for loss in (9, 8, 7, 8, 7, 6, 5, 4):
        scheduler.step(loss)
        rates += scheduler.get_last_lr()
    ramp_then_linear = [1 / 2, 1, 1, 5 / 6, 4 / 6, 3 / 6, 2 / 6, 1 / 6, 1 / 6]
    # 8 and 7 raise, the next 8 lowers, 7 is no better than 7; after half of the run nothing raises any more.
    multiplier = [1, 1, 2, 4, 2, 1, 1, 1, 1]
    expected = [4 * envelope * moved for envelope, moved in zip(ramp_then_linear, multiplier, strict=True)]
    assert rates == pytest.approx(expected)


def test_controls_are_the_frozen_list() -> None:
    assert list(CONTROLS) == [
        "constant",
        "linear",
        "cosine",
        "step",
        "wsd",
        "one_cycle",
        "inverse_sqrt",
        "plateau",
        "plateau_anneal",
        "plateau_anneal_ramp",
        "greedy_transformers",
        "greedy_smooth50_anneal",
        "greedy_smooth50_anneal_ramp",
        "greedy_smooth50_cosine",
    ]
    assert PRIMARY_CONTROL == "cosine"


def test_further_controls_are_known_by_name_and_no_part_of_the_frozen_list() -> None:
    assert list(FURTHER_CONTROLS) == ["exponential", "polynomial", "cosine_restarts"]
    assert list(NAMED_CONTROLS) == [*CONTROLS, *FURTHER_CONTROLS]


@pytest.mark.parametrize("name", NAMED_CONTROLS)
@pytest.mark.parametrize("total_steps", [40, 400])
def test_control_steps_an_optimizer_over_a_run_at_rates_above_zero(name: str, total_steps: int) -> None:
    weight = torch.nn.Parameter(torch.full((3,), 5.0))
    optimizer = torch.optim.SGD([weight], lr=0.01, momentum=0.9)
    scheduler = GreedyLR(optimizer, NAMED_CONTROLS[name].resolve(total_steps))
    generator = torch.Generator().manual_seed(0)
    for step in range(total_steps):
        noise = torch.randn(3, generator=generator)
        loss = ((weight - noise) ** 2).mean()
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        assert 0 < optimizer.param_groups[0]["lr"] <= 1.0, step
        optimizer.step()
        scheduler.step(loss.detach())
    assert torch.isfinite(weight).all()


@pytest.mark.parametrize("name", [name for name, schedule in CONTROLS.items() if schedule.rule is not None])
@pytest.mark.parametrize("loss", [math.nan, math.inf, 1.0])
def test_control_that_never_sees_a_better_loss_keeps_its_rate_above_zero(name: str, loss: float) -> None:
    scheduler = GreedyLR(sgd(0.1), CONTROLS[name].resolve(1000))
    for _ in range(1000):
        scheduler.step(loss)
        assert scheduler.get_last_lr()[0] > 0
    assert scheduler.controller.multiplier < 1
