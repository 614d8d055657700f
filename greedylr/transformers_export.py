"""Presets as keyword arguments of `transformers.TrainingArguments`, whose GreedyLR can do less than ours.

Checked against transformers 5.23: `lr_scheduler_type="greedy"` steps on the metric of `evaluate()` and knows the
parameters of `GreedyLRParameters.like_transformers`, nothing else.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass, replace
from typing import Any

from greedylr.preset import Preset
from greedylr.resolved_preset import ResolvedPreset
from greedylr.rule import GreedyLRParameters
from greedylr.schedules import Envelope, Schedule


@dataclass(frozen=True, kw_only=True)
class NearestPreset:
    """What comes nearest to a preset among what transformers can express, and what is lost on the way.

    Parameters
    ----------
    preset
        The nearest one; nothing is proved of it.
    steps_per_evaluation
        Optimizer steps between its evaluations.
    without
        What the original has and this one has not: name -> what transformers does instead.
    """

    preset: Preset
    steps_per_evaluation: int
    without: dict[str, str]


def training_arguments(
    preset: Preset, learning_rate: float, total_steps: int, *, steps_per_evaluation: int = 1, nearest: bool = False
) -> dict[str, Any]:
    """Return keyword arguments for `TrainingArguments` that make Trainer do what the preset does.

    Parameters
    ----------
    learning_rate, total_steps, steps_per_evaluation
        As in `Preset.resolve`.
    nearest
        Take `nearest_expressible` where transformers cannot express the preset; what is lost is said in a warning.

    Raises
    ------
    ValueError
        If transformers cannot express the preset, naming each thing that it cannot, or the preset cannot work here.
    """
    resolved = preset.resolve(learning_rate, total_steps, steps_per_evaluation=steps_per_evaluation)
    if lost := inexpressible(resolved):
        named = "; ".join(f"{name}: {instead}" for name, instead in lost.items())
        if not nearest:
            raise ValueError(
                f"transformers cannot express preset {preset.name!r}: {named}; --nearest (nearest=True) exports the "
                "nearest preset that it can, greedylr.huggingface.GreedyLRTrainer trains with this one"
            )
        near = nearest_expressible(preset, learning_rate, total_steps, steps_per_evaluation=steps_per_evaluation)
        warnings.warn(f"the nearest preset to {preset.name!r}, of which nothing is proved; lost: {named}", stacklevel=2)
        resolved = near.preset.resolve(learning_rate, total_steps, steps_per_evaluation=near.steps_per_evaluation)
    elif edges := differences_at_the_edges(resolved.parameters):
        warnings.warn(f"transformers differs at the edges: {'; '.join(edges)}", stacklevel=2)
    return _arguments(resolved)


def inexpressible(resolved: ResolvedPreset) -> dict[str, str]:
    """Return what the preset does that transformers cannot, by name -> what transformers does instead."""
    schedule, parameters, envelope = resolved.schedule, resolved.parameters, resolved.schedule.envelope
    cannot = {
        "signal training_loss": (
            resolved.signal == "training_loss",
            "Trainer steps on the loss of evaluate(), never on that of a step",
        ),
        "interval": (schedule.interval > 1, f"decides at each evaluation, not at every {schedule.interval}th"),
        f"envelope {envelope.shape}": (envelope.shape != "constant", "has no envelope"),
        "ramp": (envelope.ramp > 0, "ignores warmup_steps under this scheduler"),
        f"stages {parameters.stages}": (
            parameters.stages != "hold" and parameters.cooldown + parameters.warmup > 0,
            "holds in its stages",
        ),
        "increase_factor": (parameters.raise_factor != parameters.factor, "raises and lowers by one factor"),
        "factor 1": (parameters.factor == 1, "its factor lies below 1"),
        "increase_until": (schedule.increase_until < schedule.total_steps, "raises to the end of the run"),
        "guard": (parameters.guard is not None, "has no guard"),
        "probe": (schedule.probe is not None, "starts from the rate it is given"),
        "rollback": (schedule.rollback is not None, "never restores weights"),
    }
    return {name: instead for name, (has, instead) in cannot.items() if has}


def differences_at_the_edges(parameters: GreedyLRParameters) -> list[str]:
    """Return where transformers behaves differently on rare losses only: the first, non-finite and negative ones."""
    edges = []
    if parameters.first_loss != "good":
        edges.append("first_loss: it counts the first loss as an improvement")
    if parameters.non_finite != "compare":
        edges.append("non_finite: a NaN never leaves its window")
    if parameters.threshold_mode == "rel":
        edges.append("threshold_mode rel: it inverts for losses below 0")
    return edges


def nearest_expressible(
    preset: Preset, learning_rate: float, total_steps: int, *, steps_per_evaluation: int = 1
) -> NearestPreset:
    """Return the nearest preset that transformers can express, for one run.

    It evaluates where the preset decides; of two factors it takes the one nearer to 1, since what diverges is a rate
    that rises too fast. Envelope, guard, probe, rollback and an early end of the rises are left out, stages hold.

    Raises
    ------
    ValueError
        If there is none: the preset never raises the rate, and transformers' GreedyLR always does.
    """
    resolved = preset.resolve(learning_rate, total_steps, steps_per_evaluation=steps_per_evaluation)
    parameters, interval = resolved.parameters, resolved.schedule.interval
    factor = max(parameters.factor, parameters.raise_factor)
    if factor == 1:
        raise ValueError(
            f"nothing that transformers' GreedyLR can express is near preset {preset.name!r}, which never raises the "
            'rate; lr_scheduler_type="reduce_lr_on_plateau" of transformers never does either'
        )
    window = max(1, round(resolved.window / interval))
    rule = GreedyLRParameters.like_transformers(
        mode=parameters.mode,
        factor=factor,
        patience=parameters.patience,
        threshold=parameters.threshold,
        threshold_mode="abs" if parameters.threshold_mode == "abs" else "rel",
        cooldown=parameters.cooldown,
        warmup=parameters.warmup,
        min_lr=parameters.min_lr,
        max_lr=parameters.max_lr,
        eps=parameters.eps,
        smooth=window > 1,
        window_size=window,
        reset_start=_reset_start(resolved),
    )
    lost = inexpressible(resolved)
    provenance = replace(
        preset.provenance, origin=f"nearest to {preset.content_hash} for transformers, without {', '.join(lost)}"
    )
    return NearestPreset(
        preset=replace(
            preset,
            name=f"{preset.name}-for-transformers",
            schedule=Schedule(envelope=Envelope(), rule=rule),
            learning_rate=learning_rate,
            signal="validation_loss",
            provenance=provenance,
            verdict=None,
        ),
        steps_per_evaluation=steps_per_evaluation * interval,
        without=lost,
    )


def _reset_start(resolved: ResolvedPreset) -> int:
    """Return theirs; never to reset is to reset after more reductions than the run has evaluations."""
    reset_start = resolved.parameters.reset_start
    return resolved.evaluations + 1 if reset_start is None else reset_start


def _arguments(resolved: ResolvedPreset) -> dict[str, Any]:
    parameters = resolved.parameters
    return {
        "learning_rate": resolved.learning_rate,
        "max_steps": resolved.schedule.total_steps,
        "lr_scheduler_type": "greedy",
        "lr_scheduler_kwargs": {
            "mode": parameters.mode,
            "factor": parameters.factor,
            "patience": parameters.patience,
            "threshold": parameters.threshold,
            "threshold_mode": "abs" if parameters.threshold_mode == "abs" else "rel",
            "cooldown": parameters.cooldown,
            "warmup": parameters.warmup,
            "min_lr": parameters.min_lr,
            "max_lr": parameters.max_lr,
            "eps": parameters.eps,
            "smooth": parameters.smooth,
            "window_size": parameters.window_size,
            "reset_start": _reset_start(resolved),
        },
        "eval_strategy": "steps",
        "eval_steps": resolved.schedule.steps_per_evaluation,
        "metric_for_best_model": "eval_loss",
        "greater_is_better": parameters.mode == "max",
    }
