import math
import random
from typing import Any

import pytest

from greedylr import (
    CONTROLS,
    Envelope,
    GreedyLRParameters,
    Probe,
    RateController,
    RelativeRule,
    ResolvedSchedule,
    Schedule,
)
from greedylr.probe import SweepState, chosen_multiplier, next_sweep

# Of 100 steps 10: from 1/4 to 128 times the start, twice the rate at each step. A sweep so short is not smoothed.
DOUBLING = Probe(share=0.1, lowest=0.25, highest=128.0, turn=0.5, back_off=0.5)
PLAIN = Schedule(envelope=Envelope(shape="linear"), rule=RelativeRule(factor=0.5, interval=0.0, window=0.0))
NAN = math.nan


def probed(probe: Probe = DOUBLING, **changes: Any) -> ResolvedSchedule:
    return Schedule(**{"envelope": PLAIN.envelope, "rule": PLAIN.rule, **changes}, probe=probe).resolve(100)


def swept(losses: list[float], *, evaluations: int = 10, probe: Probe = DOUBLING) -> SweepState:
    state = SweepState()
    for place, loss in enumerate(losses):
        state = next_sweep(probe, evaluations, state, loss, place=place)
    return state


def test_rate_is_swept_geometrically_from_lowest_to_highest() -> None:
    controller = RateController(probed(), [0.5, 1.0])
    rates = [controller.learning_rates]
    for _ in range(9):
        controller.observe(1.0)
        rates.append(controller.learning_rates)
    assert [first for first, _ in rates] == pytest.approx([2.0**power for power in range(-3, 7)])
    assert [second for _, second in rates] == pytest.approx([2.0**power for power in range(-2, 8)])


def test_rate_holds_between_the_evaluations_of_a_sweep() -> None:
    schedule = Schedule(rule=PLAIN.rule, probe=DOUBLING).resolve(300, steps_per_evaluation=3)
    controller = RateController(schedule, [1.0])
    assert schedule.sweep_evaluations == 10
    controller.observe(1.0)
    assert (controller.step_count, controller.learning_rates) == (3, pytest.approx((0.5,)))


def smoothed(losses: list[float], memory: float) -> list[float]:
    """Exponential means with weights 1 / memory for the newest, corrected for their start at zero."""
    keep = 1 - 1 / memory
    weights = [keep**age for age in range(len(losses))]
    return [
        sum(w * loss for w, loss in zip(weights, reversed(losses[:count]), strict=False)) / sum(weights[:count])
        for count in range(1, len(losses) + 1)
    ]


@pytest.mark.parametrize(
    ("losses", "at", "turned_at", "chosen"),
    [
        # The loss of place k is that of the rate k - 1; the first has seen none, and counts for the lowest.
        ([4.0, 3.0, 2.0, 1.0, 9.0], 1.0, 2.0, 0.5),
        ([4.0, 3.0, 2.0, 1.0, NAN], 1.0, 2.0, 0.5),
        ([4.0, 3.0, 2.0, 1.0, math.inf], 1.0, 2.0, 0.5),
        # What smoothing leaves of one bad loss is not half above the best.
        ([4.0, 3.0, 2.0, 1.0, 4.0], 1.0, 0.0, 0.5),
        # Still falling at the end: the highest rate but one was fine.
        ([4.0, 3.5, 3.0, 2.5, 2.0, 1.5, 1.0, 0.8, 0.6, 0.4], 64.0, 0.0, 32.0),
        # Nothing happened: the start is kept.
        ([4.0] * 10, 0.5, 0.0, 1.0),
        ([4.0, 3.9, 3.95, 4.0, 3.9, 4.0, 3.9, 4.0, 3.9, 4.0], 32.0, 0.0, 1.0),
        # It fell by a quarter and more, and is so noisy that this says nothing.
        ([4.0, 6.0, 4.0, 6.0, 2.0, 5.0, 2.0, 6.0, 3.0, 5.0], 8.0, 0.0, 1.0),
        # It never fell, and turned above the start by more than the back-off: the start is kept.
        ([4.0, 4.0, 4.0, 4.0, 4.0, 12.0], 0.5, 4.0, 1.0),
        # It never fell, and turned below the start: so high it must not be.
        ([4.0, 4.0, 4.0, 20.0], 0.5, 1.0, 0.5),
        ([NAN], 0.0, 0.25, 0.125),
        ([], 0.0, 0.0, 1.0),
        # Losses below zero fall and turn as those above it do.
        ([-1.0, -2.0, -3.0, -4.0, 3.0], 1.0, 2.0, 0.5),
    ],
)
def test_start_is_chosen_from_the_losses_of_the_sweep(
    losses: list[float], at: float, turned_at: float, chosen: float
) -> None:
    state = swept(losses)
    assert (state.best_multiplier, state.turned_at) == pytest.approx((at, turned_at))
    assert chosen_multiplier(DOUBLING, 10, state) == pytest.approx(chosen)


@pytest.mark.parametrize(("evaluations", "memory"), [(10, 3.0), (20, 3.0), (60, 6.0)])
def test_loss_of_a_sweep_is_smoothed_over_a_tenth_of_it_and_over_three_at_least(
    evaluations: int, memory: float
) -> None:
    losses = [4.0, 2.0, 6.0, 3.0, 2.0, 1.0, 2.0, 3.0]
    state = swept(losses, evaluations=evaluations)
    means = smoothed(losses, memory)
    assert state.average / state.weight == pytest.approx(means[-1])
    full = means[math.ceil(memory) - 1 :]
    assert (state.level, state.best) == pytest.approx((full[0], min(full)))


def test_noise_of_a_sweep_is_that_of_its_losses_about_their_trend() -> None:
    generator = random.Random(0)
    noisy = [50.0 - 0.1 * place + generator.gauss(0.0, 0.05) for place in range(400)]
    assert swept(noisy, evaluations=400).noise == pytest.approx(0.05, rel=0.1)
    assert swept([10.0 - place for place in range(8)]).noise == 0.0


@pytest.mark.parametrize("evaluations", [10, 30, 300])
def test_noise_alone_hardly_ever_moves_the_start(evaluations: int) -> None:
    probe, kept = Probe(), 0
    for seed in range(200):
        generator = random.Random(seed)
        state = SweepState()
        for place in range(evaluations):
            state = next_sweep(probe, evaluations, state, math.exp(generator.gauss(0.0, 0.3)), place=place)
            if state.turned_at:
                break
        kept += chosen_multiplier(probe, evaluations, state) == 1.0
    # Without regard to the noise it was moved in nearly all of them, to a thousandth in some.
    assert kept >= 190


def test_rest_is_a_run_of_its_own_from_the_new_start() -> None:
    controller = RateController(probed(), [0.5])
    losses = [4.0, 3.0, 2.0, 1.0, 9.0, *[3 - 0.01 * step for step in range(40)], *[5.0] * 55]
    for loss in losses[:5]:
        controller.observe(loss)
    assert (controller.take_event(), controller.take_event()) == ("probe", None)
    assert (controller.swept_steps, controller.steps_taken) == (5, 5)
    (start,) = controller.base_learning_rates
    assert start == 0.5 * controller.start_multiplier == pytest.approx(0.25)
    alone = RateController(PLAIN.resolve(95), [start])
    for loss in losses[5:]:
        assert controller.learning_rates == alone.learning_rates
        controller.observe(loss)
        alone.observe(loss)
    assert controller.learning_rates == alone.learning_rates
    assert controller.steps_taken == 100
    assert controller.take_event() is None


def test_ramp_and_anneal_run_over_what_the_sweep_leaves() -> None:
    controller = RateController(probed(envelope=Envelope(shape="final_anneal", ramp=0.1)), [1.0])
    for _ in range(10):
        controller.observe(2.0)
    expected = Envelope(shape="final_anneal", ramp=0.1)
    rates = []
    for _ in range(90):
        rates.append(controller.learning_rates[0])
        controller.observe(None)
    assert rates == [expected.multiplier(step, 90) for step in range(90)]


def test_probe_serves_a_schedule_without_a_rule() -> None:
    controller = RateController(Schedule(envelope=CONTROLS["cosine"].envelope, probe=DOUBLING).resolve(100), [1.0])
    for loss in (4.0, 3.0, 2.0, 1.0, 9.0):
        controller.observe(loss)
    assert controller.base_learning_rates == pytest.approx((0.5,))
    assert controller.learning_rates == pytest.approx((0.5 * CONTROLS["cosine"].envelope.multiplier(0, 95),))


def test_sweep_without_losses_ends_and_keeps_the_start() -> None:
    controller = RateController(probed(), [0.5])
    for _ in range(10):
        controller.observe(None)
    assert (controller.take_event(), controller.start_multiplier, controller.step_count) == ("probe", 1.0, 0)
    assert controller.learning_rates == (0.5,)


def test_score_that_is_to_rise_turns_where_it_falls() -> None:
    rule = GreedyLRParameters(mode="max")
    controller = RateController(Schedule(rule=rule, probe=DOUBLING).resolve(100), [1.0])
    scores = [0.1, 0.4, 0.7, 1.0, -2.0]
    for score in scores:
        controller.observe(score)
    assert controller.take_event() == "probe"
    assert controller.take_decision() == pytest.approx(smoothed(scores[:4], 3.0)[-1])
    assert controller.start_multiplier == pytest.approx(0.5)


def test_bounds_are_relative_to_the_new_start() -> None:
    rule = GreedyLRParameters(factor=0.5, patience=0, min_lr=0.5, max_lr=2.0)
    controller = RateController(Schedule(rule=rule, probe=DOUBLING).resolve(100), [1.0])
    for loss in (4.0, 3.0, 2.0, 1.0, 9.0, *[5.0 - step / 10 for step in range(9)]):
        controller.observe(loss)
    assert controller.learning_rates == pytest.approx((1.0,))
    for _ in range(9):
        controller.observe(50.0)
    assert controller.learning_rates == pytest.approx((0.25,))


def test_groups_keep_their_ratios_and_a_later_one_joins_them() -> None:
    controller = RateController(probed(), [0.5, 2.0])
    controller.observe(4.0)
    controller.add_group(1.0)
    assert controller.learning_rates == pytest.approx((0.25, 1.0, 0.5))
    for loss in (3.0, 2.0, 1.0, 9.0):
        controller.observe(loss)
    assert controller.base_learning_rates == pytest.approx((0.25, 1.0, 0.5))
    controller.add_group(8.0)
    assert controller.base_learning_rates == pytest.approx((0.25, 1.0, 0.5, 4.0))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"share": 0.3}, r"probe.share must lie in \[0.005, 0.2\], got 0.3"),
        ({"share": 0.001}, r"probe.share must lie in \[0.005, 0.2\], got 0.001"),
        ({"share": "0.03"}, "probe.share must be a finite number >= 0, got '0.03'"),
        (
            {"lowest": 0},
            r"must be 0 < lowest < highest <= 1e.12 x lowest, got 0 and 100.0",
        ),
        ({"lowest": 5.0, "highest": 5.0}, "got 5.0 and 5.0; the rate is swept upwards"),
        ({"lowest": 1e-300, "highest": 1e300}, r"got 1e-300 and 1e.300; the rate is swept upwards"),
        ({"highest": math.inf}, "probe.highest must be a finite number >= 0, got inf"),
        ({"turn": 0}, r"probe.turn must be > 0 and probe.back_off in \(0, 1\], got 0"),
        ({"turn": NAN}, "probe.turn must be a finite number >= 0, got nan"),
        ({"back_off": 1.5}, r"probe.back_off in \(0, 1\], got 3.0 and 1.5"),
        ({"back_off": None}, "probe.back_off must be a finite number >= 0, got None"),
    ],
)
def test_probe_that_cannot_be_is_refused(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Probe(**arguments)


def test_probe_that_cannot_work_in_a_run_is_refused() -> None:
    schedule = Schedule(rule=PLAIN.rule, probe=Probe(share=0.03))
    with pytest.raises(ValueError, match=r"must have at least 10 evaluations, got 9 \(share=0.03, total_steps=300"):
        schedule.resolve(300)
    with pytest.raises(ValueError, match=r"at least 10 evaluations, got 3 .*steps_per_evaluation=100\); raise probe"):
        schedule.resolve(10_000, steps_per_evaluation=100)
    with pytest.raises(ValueError, match="a probe needs bounds relative to the start that it sets, got a rule with"):
        Schedule(rule=GreedyLRParameters.like_transformers(), probe=Probe())
    # What the longest sweep leaves must do, not the whole run.
    patient = RelativeRule(factor=0.5, interval=0.05, patience=0.93)
    Schedule(rule=patient).resolve(50)
    with pytest.raises(ValueError, match=r"patience \+ 2 = 21 decisions for the rate to move, got 20 \(total_steps=40"):
        Schedule(rule=patient, probe=Probe(share=0.2)).resolve(50)
    with pytest.raises(ValueError, match="probe and relative must come together"):
        ResolvedSchedule(
            envelope=Envelope(),
            parameters=None,
            total_steps=100,
            increase_until=100,
            decide_until=100,
            probe=DOUBLING,
        )
