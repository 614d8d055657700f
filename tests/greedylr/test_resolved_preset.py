from dataclasses import replace

import pytest

from greedylr import CONTROLS, GreedyLRParameters, Preset, Provenance, RateController, RelativeRule, Schedule
from greedylr.lookup import bundled_presets, load_preset

PRESET = Preset(
    name="steady",
    schedule=Schedule(
        rule=RelativeRule(
            factor=0.7,
            increase_factor=0.85,
            patience=0.025,
            cooldown=0.05,
            interval=0.025,
            window=0.08,
            min_lr=0.01,
            max_lr=10.0,
            increase_until=0.4,
        )
    ),
    provenance=Provenance(origin="test", greedylr_version="0.1.0"),
)


def with_rule(rule: RelativeRule | GreedyLRParameters) -> Preset:
    return replace(PRESET, schedule=Schedule(rule=rule))


def test_resolved_preset_is_in_rates_and_evaluations() -> None:
    resolved = PRESET.resolve(0.5, 4000, steps_per_evaluation=10)
    assert (resolved.min_lr, resolved.max_lr) == (0.005, 5.0)
    assert (resolved.evaluations, resolved.schedule.interval) == (400, 10)
    # One decision of patience: the rate moves at the second of a kind, the twentieth evaluation.
    assert (resolved.parameters.patience, resolved.patience) == (1, 19)
    assert (resolved.parameters.cooldown, resolved.cooldown) == (2, 20)
    assert (resolved.warmup, resolved.window) == (0, 32)
    assert (resolved.parameters.factor, resolved.parameters.raise_factor) == (0.7, 0.85)
    assert resolved.schedule.increase_until == 1600
    assert (resolved.name, resolved.content_hash, resolved.signal) == ("steady", PRESET.content_hash, "training_loss")


def test_rates_of_the_absolute_parameters_are_those_of_the_schedule() -> None:
    resolved = PRESET.resolve(0.5, 400)
    relative = RateController(resolved.schedule, [0.5])
    absolute = RateController(replace(resolved.schedule, parameters=resolved.parameters), [0.5])
    losses = [2.0 - 0.01 * step if step < 150 else 1.0 + 0.001 * step for step in range(400)]
    seen = set()
    for loss in losses:
        relative.observe(loss)
        absolute.observe(loss)
        assert absolute.learning_rates == pytest.approx(relative.learning_rates)
        seen.add(relative.learning_rates[0])
    assert len(seen) > 10


def test_preset_with_bounds_that_are_rates_keeps_them() -> None:
    resolved = with_rule(GreedyLRParameters.like_transformers(patience=3)).resolve(0.1, 400)
    assert (resolved.min_lr, resolved.max_lr, resolved.patience) == (0.001, 1.0, 3)


@pytest.mark.parametrize("name", bundled_presets())
def test_bundled_presets_work_from_fifteen_evaluations_on(name: str) -> None:
    assert load_preset(name).resolve(1e-4, 1500, steps_per_evaluation=100).evaluations == 15
    with pytest.raises(ValueError, match="hand over a loss at least every 75 steps"):
        load_preset(name).resolve(1e-4, 1500, steps_per_evaluation=300)


@pytest.mark.parametrize(
    ("rule", "learning_rate", "total_steps", "steps_per_evaluation", "message"),
    [
        (
            GreedyLRParameters(patience=10),
            0.1,
            110,
            10,
            r"at least 12 evaluations for a patience of 10 ever to move the rate, got 11 \(total_steps=110, "
            r"steps_per_evaluation=10\); evaluate more often or train longer",
        ),
        (GreedyLRParameters.like_transformers(), 0.1, 10, 1, "at least 11 evaluations for a patience of 10"),
        (RelativeRule(factor=0.9, patience=0.5), 0.1, 3, 1, r"decisions for the rate to move, got 3"),
        (RelativeRule(factor=0.4), 0.1, 400, 1, "^factor must be at least 0.5 where the rate may rise, got 0.4; 0.25"),
        (
            RelativeRule(factor=0.9, increase_factor=0.25),
            0.1,
            400,
            1,
            "^increase_factor must be at least 0.5 where the rate may rise, got 0.25",
        ),
        (
            PRESET.schedule.rule,
            0.1,
            400,
            80,
            r"at this cadence \(one evaluation in 80 steps, 4 times fewer moves than the preset was made for\) factor "
            "would have to be 0.24 instead of 0.7 for the rate to travel as far, and must be at least 0.5; hand over a "
            "loss at least every 20 steps",
        ),
        (
            GreedyLRParameters.like_transformers(),
            5e-5,
            400,
            1,
            "learning_rate must lie within the bounds 0.001 and 1, .* got 5e-05; take a preset whose bounds are rel",
        ),
        (PRESET.schedule.rule, 0, 400, 1, "learning_rate must be > 0, got 0"),
        (PRESET.schedule.rule, "0.1", 400, 1, "learning_rate must be a finite number"),
        (PRESET.schedule.rule, 1e308, 400, 1, "max_lr must be a finite number"),
        (PRESET.schedule.rule, 0.1, 400.0, 1, "total_steps must be an integer >= 1, got 400.0"),
        (PRESET.schedule.rule, 0.1, 400, 0, "steps_per_evaluation must be an integer >= 1, got 0"),
    ],
)
def test_what_cannot_work_is_refused(
    rule: RelativeRule, learning_rate: float, total_steps: int, steps_per_evaluation: int, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        with_rule(rule).resolve(learning_rate, total_steps, steps_per_evaluation=steps_per_evaluation)


def test_a_rule_that_never_raises_may_cut_deep() -> None:
    plateau = CONTROLS["plateau"].rule
    assert isinstance(plateau, RelativeRule)
    assert with_rule(plateau).resolve(0.1, 1000).parameters.factor == 0.1


def test_factor_is_held_against_the_cadence_only_where_losses_are_rarer_than_decisions() -> None:
    gentle = replace(PRESET.schedule.rule, factor=0.5, increase_factor=0.5)  # type: ignore[type-var]
    for total_steps in (40, 41, 57, 400, 999):
        assert with_rule(gentle).resolve(0.1, total_steps).parameters.factor == 0.5
