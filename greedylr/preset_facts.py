"""A preset in words: what `greedylr presets show` and the table of the demo print."""

from __future__ import annotations

from greedylr.preset import Preset, Provenance
from greedylr.rule import GreedyLRParameters
from greedylr.schedules import Envelope, RelativeRule
from greedylr.verdict import Verdict

SHAPES = {
    "constant": "constant",
    "final_anneal": "linear to zero over the last {share}, the rule stops there",
    "wsd": "linear to zero over the last {share}",
    "linear": "linear to zero",
    "cosine": "cosine to zero",
    "step": "tenfold down at 1/2 and 3/4",
    "one_cycle": "one cycle",
    "inverse_sqrt": "inverse square root",
    "exponential": "exponential to a hundredth",
    "polynomial": "parabola to zero",
    "cosine_restarts": "three cosines to zero, each twice as long as the one before",
}
OWN, STAND_IN = "the group's own workload", "a reference workload, standing in"
STAGES = {
    "hold": "nothing counts in them",
    "continue": "the move is repeated in them",
    "silence": "the opposite move is silenced in them",
}


def facts(preset: Preset) -> dict[str, str]:
    """Return what there is to know of a preset, by what it is called, in the order to be read."""
    rule = preset.schedule.rule
    assert rule is not None  # Preset checks it
    relative = isinstance(rule, RelativeRule)
    return {
        "starting rate": "not recommended, take your own"
        if preset.learning_rate is None
        else f"{preset.learning_rate:g}",
        "factor": factor(rule),
        "patience": _relative_length(rule.patience) if relative else f"{rule.patience} decisions",
        "window": window(rule),
        "bounds": bounds(rule),
        "extras": extras(preset),
        "envelope": _envelope(preset.schedule.envelope),
        "decisions": _cadence(rule),
        "threshold": f"{rule.threshold:g} {'absolute' if rule.threshold_mode == 'abs' else 'of the best loss'}",
        "stages": _stages(rule),
        "signal": preset.signal.replace("_", " "),
        **_training_facts(preset.provenance),
        **_verdict_facts(preset.verdict),
        "rate from": preset.provenance.learning_rate_source or "nowhere",
        "origin": _origin(preset),
        "content": preset.content_hash,
    }


def factor(rule: RelativeRule | GreedyLRParameters) -> str:
    """Return what a lowering multiplies the rate by and a raise divides it by."""
    rise = rule.factor if rule.increase_factor is None else rule.increase_factor
    if rise == 1:
        return f"fall {rule.factor:g}, never raised"
    return f"fall {rule.factor:g}, rise {rise:g}"


def window(rule: RelativeRule | GreedyLRParameters) -> str:
    """Return over what the loss is averaged."""
    if isinstance(rule, RelativeRule):
        return _percent(rule.window) if rule.window else "none"
    return f"{rule.window_size} evaluations" if rule.smooth else "none"


def bounds(rule: RelativeRule | GreedyLRParameters) -> str:
    """Return between what the rate moves."""
    absolute = isinstance(rule, GreedyLRParameters) and rule.bounds == "absolute"
    return f"{rule.min_lr:.3g} to {rule.max_lr:.3g}" + ("" if absolute else " x start")


def extras(preset: Preset) -> str:
    """Return what goes beyond the core of GreedyLR, which is always named apart from it."""
    envelope, rule = preset.schedule.envelope, preset.schedule.rule
    names = [f"ramp {_percent(envelope.ramp)}"] if envelope.ramp else []
    if envelope.shape in ("final_anneal", "wsd"):
        names.append(f"{'anneal' if envelope.shape == 'final_anneal' else 'WSD'} {_percent(envelope.decay_share)}")
    elif envelope.shape != "constant":
        names.append(envelope.shape.replace("_", " "))
    if isinstance(rule, RelativeRule) and rule.increase_until < 1:
        names.append(f"rises in the first {_percent(rule.increase_until)}")
    if rule is not None and rule.guard is not None:
        names.append(f"guard {_percent(rule.guard)}")
    probe, rollback = preset.schedule.probe, preset.schedule.rollback
    if probe is not None:
        names.append(f"probe {_percent(probe.share)}, {probe.lowest:g} to {probe.highest:g} x start")
    if rollback is not None:
        names.append(f"rollback {_percent(rollback.guard)}, at most {rollback.limit}")
    return ", ".join(names) or "none"


def _percent(share: float) -> str:
    return f"{100 * share:.4g} %"


def _relative_length(share: float) -> str:
    return f"{_percent(share)} of the run" if share else "none"


def _envelope(envelope: Envelope) -> str:
    shape = SHAPES[envelope.shape].format(share=_percent(envelope.decay_share))
    return f"{_percent(envelope.ramp)} linear ramp, then {shape}" if envelope.ramp else shape


def _cadence(rule: RelativeRule | GreedyLRParameters) -> str:
    if isinstance(rule, RelativeRule) and rule.interval:
        return f"every {_percent(rule.interval)} of the run"
    return "at each evaluation"


def _stages(rule: RelativeRule | GreedyLRParameters) -> str:
    if not rule.cooldown and not rule.warmup:
        return "none"
    lengths = [
        _relative_length(length) if isinstance(rule, RelativeRule) else f"{length} decisions"
        for length in (rule.cooldown, rule.warmup)
    ]
    return f"cooldown {lengths[0]}, warmup {lengths[1]}; {STAGES[rule.stages]}"


def _training_facts(provenance: Provenance) -> dict[str, str]:
    """Return what is known of the training that it is for, and nothing where nothing is."""
    parts = [
        provenance.optimizer,
        provenance.task,
        f"{provenance.parameters:,} parameters" if provenance.parameters else "",
        f"batches of {provenance.batch_size:,}" if provenance.batch_size else "",
    ]
    told = ", ".join(part for part in parts if part)
    return {"made for": told} if told else {}


def _verdict_facts(verdict: Verdict | None) -> dict[str, str]:
    if verdict is None:
        return {"verdict": "none, never put to the proof"}
    interval = verdict.interval
    cells = ", ".join(f"{count} {name}" for name, count in verdict.cells.items())
    return {
        "verdict": f"{verdict.verdict} against {verdict.primary_control}",
        "regret difference": f"{verdict.difference:+.4f} [{interval.lower:+.4f}, {interval.upper:+.4f}], "
        f"{100 * interval.level:.3g} % interval, {verdict.seeds} paired seeds, margin {verdict.margin:g}",
        "proved on": f"{verdict.workload} ({OWN if verdict.own_workload else STAND_IN})",
        **({} if verdict.selection == "apart" else {"selection": "by the reported loss itself, which flatters"}),
        "all cells": cells or "not recorded",
        "attempt": str(verdict.attempt),
        "cost": f"{verdict.device_seconds:.0f} s of the device",
    }


def _origin(preset: Preset) -> str:
    provenance = preset.provenance
    parts = [provenance.origin]
    if provenance.group:
        parts.append(f"{provenance.runs} runs of {provenance.group}")
    if provenance.created_at:
        parts.append(provenance.created_at)
    return ", ".join([*parts, f"greedylr {provenance.greedylr_version}"])
