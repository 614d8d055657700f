import ast
import json
from dataclasses import fields, replace
from typing import Any

import pytest

from greedylr import (
    CONTROLS,
    Envelope,
    GreedyLRParameters,
    Preset,
    Probe,
    Provenance,
    RelativeRule,
    Rollback,
    Schedule,
)
from greedylr.exports import exported
from greedylr.lookup import load_preset
from greedylr.transformers_export import nearest_expressible, training_arguments

PLAIN = Preset(
    name="plain",
    schedule=Schedule(rule=RelativeRule(factor=0.9, patience=0.05, interval=0.0, window=0.08)),
    signal="validation_loss",
    provenance=Provenance(origin="test", greedylr_version="0.1.0"),
)
THEIRS = replace(PLAIN, schedule=CONTROLS["greedy_transformers"])
RUN: dict[str, Any] = {"learning_rate": 0.1, "total_steps": 4000, "steps_per_evaluation": 100}


def with_rule(**changes: Any) -> Preset:
    rule = PLAIN.schedule.rule
    assert isinstance(rule, RelativeRule)
    return replace(PLAIN, schedule=Schedule(rule=replace(rule, **changes)))


def with_extras(**extras: Any) -> Preset:
    return replace(PLAIN, schedule=replace(PLAIN.schedule, **extras))


def test_json_is_the_preset_itself() -> None:
    assert exported(PLAIN) == PLAIN.to_json()


def test_transformers_arguments_are_in_rates_and_evaluations() -> None:
    assert training_arguments(THEIRS, **RUN) == {
        "learning_rate": 0.1,
        "max_steps": 4000,
        "lr_scheduler_type": "greedy",
        "lr_scheduler_kwargs": {
            "mode": "min",
            "factor": 0.95,
            "patience": 10,
            "threshold": 1e-6,
            "threshold_mode": "abs",
            "cooldown": 0,
            "warmup": 0,
            "min_lr": 1e-3,
            "max_lr": 1.0,
            "eps": 1e-8,
            "smooth": False,
            "window_size": 50,
            "reset_start": 500,
        },
        "eval_strategy": "steps",
        "eval_steps": 100,
        "metric_for_best_model": "eval_loss",
        "greater_is_better": False,
    }


def test_transformers_says_where_it_differs_at_the_edges() -> None:
    with pytest.warns(UserWarning, match="first_loss: it counts .*; non_finite: a NaN never leaves its window"):
        arguments = json.loads(exported(PLAIN, "transformers", **RUN))
    kwargs = arguments["lr_scheduler_kwargs"]
    assert (kwargs["patience"], kwargs["min_lr"], kwargs["max_lr"]) == (2, 0.001, 1.0)
    assert (kwargs["smooth"], kwargs["window_size"], kwargs["reset_start"]) == (True, 3, 41)


@pytest.mark.parametrize(
    ("preset", "named"),
    [
        (replace(PLAIN, signal="training_loss"), "signal training_loss: Trainer steps on the loss of evaluate()"),
        (with_rule(interval=0.1), "interval: decides at each evaluation, not at every 4th"),
        (replace(PLAIN, schedule=replace(PLAIN.schedule, envelope=Envelope(shape="wsd"))), "envelope wsd"),
        (replace(PLAIN, schedule=replace(PLAIN.schedule, envelope=Envelope(ramp=0.05))), "ramp: ignores warmup_steps"),
        (with_rule(cooldown=0.05, stages="continue"), "stages continue: holds in its stages"),
        (with_rule(warmup=0.05, stages="silence"), "stages silence: holds in its stages"),
        (with_rule(increase_factor=0.95), "increase_factor: raises and lowers by one factor"),
        (with_rule(increase_until=0.4), "increase_until: raises to the end of the run"),
        (with_rule(guard=0.3), "guard: has no guard"),
        (replace(PLAIN, schedule=Schedule(rule=GreedyLRParameters(factor=1.0))), "factor 1: its factor lies below 1"),
        (with_extras(rollback=Rollback()), "rollback: never restores weights"),
    ],
)
def test_what_transformers_cannot_express_is_refused_by_name(preset: Preset, named: str) -> None:
    with pytest.raises(ValueError, match=r"transformers cannot express preset 'plain': .*--nearest") as error:
        exported(preset, "transformers", **RUN)
    assert named in str(error.value)
    # Nothing else is named: one thing was changed.
    assert str(error.value).count(": ") == 2


@pytest.mark.parametrize("export_format", ["python", "lightning"])
def test_programs_name_the_extras(export_format: Any) -> None:
    run: dict[str, Any] = {"learning_rate": 0.1, "total_steps": 4000}
    restoring = replace(with_extras(probe=Probe(), rollback=Rollback()), signal="training_loss")
    text = exported(restoring, export_format, **run)
    assert "Extras: probe 3 %, 0.01 to 100 x start, rollback 30 %, at most 3.\n# The probe sweeps beyond" in text
    text = exported(load_preset("anneal"), export_format, **run)
    assert "Extras: anneal 20 %.\n" in text
    assert "The probe sweeps" not in text


def test_probe_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match="cannot express preset 'plain': probe: starts from the rate it is given; --n"):
        exported(with_extras(probe=Probe()), "transformers", learning_rate=0.1, total_steps=4000)


def test_every_parameter_has_been_thought_of() -> None:
    # A new field of the rule must be exported or refused by name before it is listed here.
    assert {field.name for field in fields(GreedyLRParameters)} == {
        *("mode", "factor", "increase_factor", "patience", "threshold", "threshold_mode", "cooldown", "warmup"),
        *("stages", "min_lr", "max_lr", "bounds", "eps", "smooth", "window_size", "reset_start", "guard"),
        *("non_finite", "first_loss"),
    }
    assert {field.name for field in fields(RelativeRule)} == {
        *("factor", "increase_factor", "patience", "cooldown", "warmup", "threshold", "threshold_mode", "min_lr"),
        *("max_lr", "stages", "interval", "window", "increase_until", "guard", "non_finite"),
    }
    assert {field.name for field in fields(Envelope)} == {"shape", "ramp", "decay_share"}
    assert {field.name for field in fields(Schedule)} == {"envelope", "rule", "probe", "rollback"}


@pytest.mark.parametrize("name", ["robust", "anneal", "core"])
@pytest.mark.filterwarnings("error")
def test_the_nearest_preset_is_expressed_exactly(name: str) -> None:
    preset = load_preset(name)
    near = nearest_expressible(preset, 0.1, 4000)
    # A decision each T / 40; the window of 8 % of the run is three of them; the slower of 0.7 and 0.85.
    assert near.steps_per_evaluation == 100
    arguments = training_arguments(near.preset, 0.1, 4000, steps_per_evaluation=near.steps_per_evaluation)
    kwargs = arguments["lr_scheduler_kwargs"]
    assert (kwargs["factor"], kwargs["patience"], kwargs["window_size"]) == (0.85, 1, 3)
    assert (kwargs["min_lr"], kwargs["max_lr"], arguments["eval_steps"]) == (0.001, 1.0, 100)
    assert near.preset.verdict is None
    assert near.preset.name == f"{name}-for-transformers"
    assert "signal training_loss" in near.without
    with pytest.warns(UserWarning, match=f"the nearest preset to '{name}', of which nothing is proved; lost: signal"):
        assert json.loads(exported(preset, "transformers", learning_rate=0.1, total_steps=4000, nearest=True)) == (
            arguments
        )


def test_nearest_preset_is_without_what_restores_weights() -> None:
    near = nearest_expressible(with_extras(probe=Probe(share=0.25 / 2), rollback=Rollback()), 0.1, 40_000)
    assert near.preset.schedule.probe is None
    assert near.preset.schedule.rollback is None
    assert near.without.keys() == {"probe", "rollback"}
    assert "without probe, rollback" in near.preset.provenance.origin


def test_nothing_is_near_a_preset_that_never_raises() -> None:
    plateau = replace(PLAIN, schedule=CONTROLS["plateau"])
    with pytest.raises(ValueError, match='never raises the rate; lr_scheduler_type="reduce_lr_on_plateau"'):
        exported(plateau, "transformers", **RUN, nearest=True)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            {"export_format": "yaml"},
            "--format must be one of 'json', 'python', 'transformers', 'lightning', got 'yaml'",
        ),
        ({"export_format": "json", "total_steps": 10}, "are for the formats of one run, got them with json"),
        ({"export_format": "python", "learning_rate": 0.1}, "--total-steps must be given for --format python"),
        ({"export_format": "python", "total_steps": 10}, "--learning-rate must be given .* 'plain' recommends none"),
        ({"export_format": "python", "nearest": True}, "--nearest is for --format transformers, got python"),
        ({"export_format": "python", "learning_rate": 0.1, "total_steps": 1}, "decisions for the rate to move"),
        ({"export_format": "lightning", **RUN}, "steps on the training loss, and the signal .* is validation_loss"),
    ],
)
def test_export_that_cannot_be_is_refused(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        exported(PLAIN, **arguments)


def test_recommended_rate_is_the_default() -> None:
    text = exported(replace(load_preset("core"), learning_rate=0.3), "python", total_steps=500)
    assert "LEARNING_RATE = 0.3\nTOTAL_STEPS = 500\nSTEPS_PER_EVALUATION = 1\n" in text


@pytest.mark.parametrize("export_format", ["python", "lightning"])
def test_what_stands_in_a_preset_never_becomes_code(export_format: str) -> None:
    hostile = "'''\n\"\"\"); raise SystemExit  # \\' \u2028 $step {0}"
    preset = replace(load_preset("core"), name=hostile, provenance=replace(PLAIN.provenance, origin=hostile))
    tree = ast.parse(exported(preset, export_format, learning_rate=0.1, total_steps=400))  # type: ignore[arg-type]
    assert not any(isinstance(node, ast.Raise) for node in ast.walk(tree))
    literal = next(
        node.value.args[0]
        for node in tree.body
        if isinstance(node, ast.Assign)
        and ast.unparse(node.targets[0]) == "PRESET"
        and isinstance(node.value, ast.Call)
    )
    assert Preset.from_dict(ast.literal_eval(literal)) == preset
