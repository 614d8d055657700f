"""Schedules: rate(t) = starting rate x envelope(t) x multiplier, and the controls that presets are compared with.

The envelope is fixed in advance, the multiplier is moved by the rule of GreedyLR. A control such as cosine has an
envelope alone; ReduceLROnPlateau is the rule that never raises. Everything is in shares of the run and multiples of the
starting rate, so that one schedule serves runs of any length; `Schedule.resolve` makes it concrete.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Literal, get_args

from greedylr.probe import Probe
from greedylr.rollback import Rollback
from greedylr.rule import (
    GreedyLRParameters,
    NonFinite,
    Stages,
    require_choice,
    require_count,
    require_factor,
    require_kind,
    require_share,
)

Shape = Literal[
    "constant",
    "final_anneal",
    "wsd",
    "linear",
    "cosine",
    "step",
    "one_cycle",
    "inverse_sqrt",
    "exponential",
    "polynomial",
    "cosine_restarts",
]

STEP_MILESTONES = (0.5, 0.75)
STEP_DECAY = 0.1
ONE_CYCLE_RISE = 0.3
ONE_CYCLE_START = 1 / 25
ONE_CYCLE_END = 1e-4 / 25
EXPONENTIAL_END = 0.01
# 1 would be "linear", and 0.9 (what segmentation uses) hardly differs from it.
POLYNOMIAL_POWER = 2
RESTART_CYCLES = 3


@dataclass(frozen=True, kw_only=True)
class Envelope:
    """The part of the rate that is fixed in advance, as a function of the step.

    Parameters
    ----------
    shape
        "final_anneal" and "wsd" (warmup-stable-decay) fall linearly to zero over the last `decay_share` of the run;
        under "final_anneal" the rule stops there, under "wsd" it goes on. "linear" and "cosine" fall to zero from the
        end of the ramp. "step" multiplies by 0.1 at 1/2 and 3/4 of the run. "one_cycle" is Smith & Topin's with cosine
        ramps (rise over 30 % from 1/25, fall to 1e-4 / 25). "inverse_sqrt" falls with the square root of the step after
        the ramp. The next three are measured from the end of the ramp, too: "exponential" falls by the same factor each
        step, to 0.01 at the end; "polynomial" as (1 - progress)^2; "cosine_restarts" is SGDR (Loshchilov & Hutter,
        ICLR 2017): three cosines from 1 to zero, each twice as long as the one before.
    ramp
        In [0, 1): share of the run over which the rate rises linearly from zero. Of r steps the first has 1/r and the
        last 1: `transformers` and torch start at 0/r, a step that trains nothing.
    decay_share
        In (0, 1]: length of the final decay of "final_anneal" and "wsd".
    """

    shape: Shape = "constant"
    ramp: float = 0.0
    decay_share: float = 0.2

    def __post_init__(self) -> None:
        require_choice("envelope.shape", self.shape, get_args(Shape))
        require_share("envelope.ramp", self.ramp)
        require_share("envelope.decay_share", self.decay_share)
        if self.ramp >= 1 or self.decay_share == 0:
            raise ValueError(
                f"envelope.ramp must be < 1 and envelope.decay_share > 0, got {self.ramp!r} and {self.decay_share!r}"
            )

    def multiplier(self, step: int, total_steps: int) -> float:
        """Return the multiplier in (0, 1] of step `step` in 0 .. total_steps - 1; later steps keep the last one's."""
        step = min(step, total_steps - 1)
        # At least one step is left for the decay, however short the run.
        ramp_steps = min(round(self.ramp * total_steps), total_steps - 1)
        rise = (step + 1) / ramp_steps if step < ramp_steps else 1.0
        return rise * self._decay(step, total_steps, ramp_steps)

    def level_steps(self, total_steps: int) -> range:
        """Return steps at which the multiplier is 1, where it need not be computed; the last step stands for the rest.

        Never a step too many, but perhaps a few too few.
        """
        ramp_steps = min(round(self.ramp * total_steps), total_steps - 1)
        if self.shape == "constant":
            return range(ramp_steps, total_steps)
        if self.shape in ("final_anneal", "wsd"):
            return range(ramp_steps, max(ramp_steps, math.floor((1 - self.decay_share) * total_steps) - 1))
        return range(0)

    def _decay(self, step: int, total_steps: int, ramp_steps: int) -> float:
        progress = step / total_steps
        past_ramp = max(0, step - ramp_steps) / (total_steps - ramp_steps)
        match self.shape:
            case "constant":
                return 1.0
            case "final_anneal" | "wsd":
                return min(1.0, (1.0 - progress) / self.decay_share)
            case "linear":
                return 1.0 - past_ramp
            case "cosine":
                return (1.0 + math.cos(math.pi * past_ramp)) / 2
            case "step":
                return STEP_DECAY ** sum(progress >= milestone for milestone in STEP_MILESTONES)
            case "one_cycle":
                return _one_cycle(progress)
            case "inverse_sqrt":
                plateau = max(1, ramp_steps)
                return min(1.0, math.sqrt(plateau / (step + 1)))
            case "exponential":
                return math.pow(EXPONENTIAL_END, past_ramp)
            case "polynomial":
                return (1.0 - past_ramp) ** POLYNOMIAL_POWER
            case "cosine_restarts":
                return _cosine_restarts(past_ramp)


@dataclass(frozen=True, kw_only=True)
class RelativeRule:
    """The rule of GreedyLR in shares of the run and multiples of the starting rate.

    Parameters
    ----------
    factor, increase_factor
        In (0, 1]: fall and rise of a move; the rise is the fall where None.
    patience, cooldown, warmup
        Shares of the run, in [0, 1].
    threshold, threshold_mode, stages, non_finite, guard
        As in `GreedyLRParameters`; a relative threshold lies below 1.
    min_lr, max_lr
        Bounds in multiples of the starting rate, which lies between them: min_lr <= 1 <= max_lr.
    interval
        Share of the run between decisions; 0 decides at each evaluation.
    window
        Share of the run over which the loss is averaged; 0 does not average.
    increase_until
        Share of the run up to which the rate may be raised; it may fall at any time.
    """

    factor: float
    increase_factor: float | None = None
    patience: float = 0.0
    cooldown: float = 0.0
    warmup: float = 0.0
    threshold: float = 1e-6
    threshold_mode: Literal["abs", "rel"] = "abs"
    min_lr: float = 1e-2
    max_lr: float = 10.0
    stages: Stages = "hold"
    interval: float = 0.025
    window: float = 0.08
    increase_until: float = 1.0
    guard: float | None = None
    non_finite: NonFinite = "bad"

    def __post_init__(self) -> None:
        for name in ("patience", "cooldown", "warmup", "interval", "window", "increase_until"):
            require_share(f"rule.{name}", getattr(self, name))
        require_factor("rule.factor", self.factor)
        require_choice("rule.threshold_mode", self.threshold_mode, ("abs", "rel"))
        self.parameters(patience=0, cooldown=0, warmup=0, window_size=1)
        if self.threshold_mode == "rel" and self.threshold >= 1:
            raise ValueError(
                f"rule.threshold must be < 1 where it is relative, got {self.threshold!r}; no positive loss would ever "
                "count as better"
            )
        if not self.min_lr <= 1 <= self.max_lr:
            raise ValueError(
                "rule.min_lr and rule.max_lr are multiples of the starting rate and must have 1 between them, "
                f"got {self.min_lr!r} and {self.max_lr!r}"
            )

    def parameters(self, *, patience: int, cooldown: int, warmup: int, window_size: int) -> GreedyLRParameters:
        """Return the rule with its lengths in decisions and its window in evaluations."""
        return GreedyLRParameters(
            factor=self.factor,
            increase_factor=self.increase_factor,
            patience=patience,
            threshold=self.threshold,
            threshold_mode=self.threshold_mode,
            cooldown=cooldown,
            warmup=warmup,
            stages=self.stages,
            min_lr=self.min_lr,
            max_lr=self.max_lr,
            smooth=window_size > 1,
            window_size=window_size,
            guard=self.guard,
            non_finite=self.non_finite,
        )


@dataclass(frozen=True, kw_only=True)
class ResolvedSchedule:
    """A schedule for one length of run: everything counted in steps, evaluations and decisions.

    `interval` is in evaluations between decisions, `increase_until` and `decide_until` in steps: after them no raise is
    made, and no decision at all.

    Of a schedule with a probe this is the run as it would be without; `relative` is what `after_sweep` resolves anew
    for the steps that the sweep leaves.
    """

    envelope: Envelope
    parameters: GreedyLRParameters | None
    total_steps: int
    steps_per_evaluation: int = 1
    interval: int = 1
    increase_until: int
    decide_until: int
    probe: Probe | None = None
    rollback: Rollback | None = None
    relative: Schedule | None = None

    def __post_init__(self) -> None:
        for name in ("total_steps", "steps_per_evaluation", "interval"):
            require_count(name, getattr(self, name), minimum=1)
        for name in ("increase_until", "decide_until"):
            require_count(name, getattr(self, name), minimum=0)
        if (self.probe is None) != (self.relative is None):
            raise ValueError(
                "probe and relative must come together: a sweep leaves a run that is resolved anew, got "
                f"{self.probe} and {self.relative}; take what Schedule.resolve gives"
            )
        if self.relative is not None and self.relative.probe is not None:
            raise ValueError(
                "what a sweep leaves must be a run without a probe, got one; take what Schedule.resolve gives"
            )

    @property
    def restores(self) -> tuple[str, ...]:
        """Names of what restores weights in a run: "probe", "rollback", both or none."""
        return tuple(name for name in ("probe", "rollback") if getattr(self, name) is not None)

    @property
    def sweep_evaluations(self) -> int:
        """Evaluations that the sweep may take; 0 without a probe."""
        return 0 if self.probe is None else self.probe.evaluations(self.total_steps, self.steps_per_evaluation)

    def after_sweep(self, steps: int | None = None) -> ResolvedSchedule:
        """Return the schedule of what a sweep of so many steps leaves of the run; None is the longest sweep."""
        if self.relative is None:
            return self
        steps = self.sweep_evaluations * self.steps_per_evaluation if steps is None else steps
        return self.relative.resolve(self.total_steps - steps, steps_per_evaluation=self.steps_per_evaluation)

    def envelope_multiplier(self, step: int) -> float:
        """Return the envelope's multiplier at a step."""
        return self.envelope.multiplier(step, self.total_steps)


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """An envelope and, unless the rate is fixed in advance, a rule; and two extras that restore weights.

    The rule is relative to the run, or a `GreedyLRParameters` that is taken as it is (decided at each evaluation).

    Parameters
    ----------
    probe
        A sweep that sets the starting rate in the first steps, which count as steps of the run. What it leaves is a run
        of its own: envelope and rule are resolved for the steps that remain, from the new start.
    rollback
        Weights are restored to their best where the loss leaves it far behind. It looks at decisions, so not during a
        final anneal, in which there are none.

    Raises
    ------
    ValueError
        For a probe beside bounds that are rates (the start it finds may lie outside), or a rollback without a rule.
    """

    envelope: Envelope = Envelope()
    rule: RelativeRule | GreedyLRParameters | None = None
    probe: Probe | None = None
    rollback: Rollback | None = None

    def __post_init__(self) -> None:
        rule, none = self.rule, type(None)
        remedy = "build one, or read it from a file with Preset.from_file"
        require_kind("envelope", self.envelope, Envelope, remedy)
        require_kind("rule", rule, (RelativeRule, GreedyLRParameters, none), remedy)
        require_kind("probe", self.probe, (Probe, none), remedy)
        require_kind("rollback", self.rollback, (Rollback, none), remedy)
        if self.probe is not None and isinstance(rule, GreedyLRParameters) and rule.bounds == "absolute":
            raise ValueError(
                "a probe needs bounds relative to the start that it sets, got a rule with bounds='absolute'; give the "
                "bounds in multiples of the start"
            )
        if self.rollback is not None and rule is None:
            raise ValueError("a rollback needs a rule, at whose decisions it looks, got none; give a rule")

    def resolve(self, total_steps: int, *, steps_per_evaluation: int = 1) -> ResolvedSchedule:
        """Return the schedule of a run of `total_steps`, whose loss comes once every `steps_per_evaluation` steps.

        Raises
        ------
        ValueError
            If the run has too few evaluations for a relative rule ever to move the rate, or for the sweep of a probe.
        """
        require_count("total_steps", total_steps, minimum=1)
        require_count("steps_per_evaluation", steps_per_evaluation, minimum=1)
        parameters, interval, increase_until, decide_until = None, 1, total_steps, total_steps
        if self.envelope.shape == "final_anneal":
            decide_until = round((1 - self.envelope.decay_share) * total_steps)
        if isinstance(self.rule, GreedyLRParameters):
            parameters = self.rule
        elif self.rule is not None:
            parameters, interval = _count_in_decisions(self.rule, total_steps // steps_per_evaluation)
            increase_until = round(self.rule.increase_until * total_steps)
            _require_decisions(
                parameters.patience + 2,
                decide_until // (steps_per_evaluation * interval),
                total_steps,
                steps_per_evaluation,
            )
        resolved = ResolvedSchedule(
            envelope=self.envelope,
            parameters=parameters,
            total_steps=total_steps,
            steps_per_evaluation=steps_per_evaluation,
            interval=interval,
            increase_until=increase_until,
            decide_until=decide_until,
            probe=self.probe,
            rollback=self.rollback,
            relative=None if self.probe is None else replace(self, probe=None),
        )
        resolved.after_sweep()  # refuses what the sweep leaves too little of
        return resolved


def _count_in_decisions(rule: RelativeRule, evaluations: int) -> tuple[GreedyLRParameters, int]:
    interval = max(1, round(rule.interval * evaluations))
    decisions = evaluations // interval
    patience, cooldown, warmup = (round(share * decisions) for share in (rule.patience, rule.cooldown, rule.warmup))
    parameters = rule.parameters(
        patience=patience, cooldown=cooldown, warmup=warmup, window_size=max(1, round(rule.window * evaluations))
    )
    return parameters, interval


def _require_decisions(needed: int, decisions: int, total_steps: int, steps_per_evaluation: int) -> None:
    if decisions < needed:
        raise ValueError(
            f"a run must have at least patience + 2 = {needed} decisions for the rate to move, got {decisions} "
            f"(total_steps={total_steps}, steps_per_evaluation={steps_per_evaluation}); "
            "evaluate more often or train longer"
        )


def _one_cycle(progress: float) -> float:
    if progress < ONE_CYCLE_RISE:
        low, high, share = ONE_CYCLE_START, 1.0, progress / ONE_CYCLE_RISE
    else:
        low, high, share = 1.0, ONE_CYCLE_END, (progress - ONE_CYCLE_RISE) / (1 - ONE_CYCLE_RISE)
    return high + (low - high) * (1 + math.cos(math.pi * share)) / 2


def _cosine_restarts(progress: float) -> float:
    # Cycles of lengths 1, 2, 4 ... end at 1, 3, 7 ...
    place = progress * (2**RESTART_CYCLES - 1)
    cycle = math.floor(math.log2(place + 1))
    return (1 + math.cos(math.pi * (place + 1 - 2**cycle) / 2**cycle)) / 2


PLATEAU = RelativeRule(
    factor=0.5, increase_factor=1.0, patience=0.05, threshold=1e-4, threshold_mode="rel", min_lr=1e-3, interval=0.025
)
# torch steps it on each epoch's loss: an interval's mean here, and as sparing a window as the interval itself.
RAW_PLATEAU = RelativeRule(
    factor=0.1,
    increase_factor=1.0,
    patience=0.1,
    threshold=1e-4,
    threshold_mode="rel",
    min_lr=0.0,
    interval=0.01,
    window=0.01,
)
SMOOTH_50 = GreedyLRParameters.like_transformers(smooth=True, window_size=50)

# The frozen list of controls (docs/method.md, section 6); the incumbent of a group joins it where there is one.
CONTROLS: dict[str, Schedule] = {
    "constant": Schedule(),
    "linear": Schedule(envelope=Envelope(shape="linear")),
    "cosine": Schedule(envelope=Envelope(shape="cosine", ramp=0.05)),
    "step": Schedule(envelope=Envelope(shape="step")),
    "wsd": Schedule(envelope=Envelope(shape="wsd", ramp=0.05)),
    "one_cycle": Schedule(envelope=Envelope(shape="one_cycle")),
    "inverse_sqrt": Schedule(envelope=Envelope(shape="inverse_sqrt", ramp=0.05)),
    "plateau": Schedule(rule=RAW_PLATEAU),
    "plateau_anneal": Schedule(envelope=Envelope(shape="final_anneal"), rule=PLATEAU),
    "plateau_anneal_ramp": Schedule(envelope=Envelope(shape="final_anneal", ramp=0.05), rule=PLATEAU),
    "greedy_transformers": Schedule(rule=GreedyLRParameters.like_transformers()),
    "greedy_smooth50_anneal": Schedule(envelope=Envelope(shape="final_anneal"), rule=SMOOTH_50),
    "greedy_smooth50_anneal_ramp": Schedule(envelope=Envelope(shape="final_anneal", ramp=0.05), rule=SMOOTH_50),
    "greedy_smooth50_cosine": Schedule(envelope=Envelope(shape="cosine"), rule=SMOOTH_50),
}
PRIMARY_CONTROL = "cosine"

# What presets are compared with on request; it is in no headline, so that the frozen list stays what it is.
FURTHER_CONTROLS: dict[str, Schedule] = {
    "exponential": Schedule(envelope=Envelope(shape="exponential", ramp=0.05)),
    "polynomial": Schedule(envelope=Envelope(shape="polynomial", ramp=0.05)),
    "cosine_restarts": Schedule(envelope=Envelope(shape="cosine_restarts", ramp=0.05)),
}
NAMED_CONTROLS = CONTROLS | FURTHER_CONTROLS
