"""A preset for one run: rates instead of multiples, evaluations instead of shares; refuses what cannot work."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from greedylr.rule import GreedyLRParameters
from greedylr.schedules import RelativeRule, ResolvedSchedule

if TYPE_CHECKING:
    from greedylr.preset import Preset

# A factor of 0.25 diverged, 0.5 to 0.99 did not (arXiv 2512.14527, sweep of the factor).
LOWEST_FACTOR = 0.5


@dataclass(frozen=True, kw_only=True)
class ResolvedPreset:
    """What a preset does in one run.

    Parameters
    ----------
    name, content_hash, signal
        Those of the preset.
    learning_rate
        The starting rate.
    parameters
        The rule with its bounds and `eps` as rates, its lengths in decisions and its window in evaluations. The rate of
        a step is the rule's rate times `schedule.envelope_multiplier(step)`.
    schedule
        What a `RateController` takes: the same rule in the preset's own unit, envelope and cadence. With a probe all of
        this is the run as it would be without; `schedule.after_sweep()` is what the sweep leaves, from another start.
    """

    name: str
    content_hash: str
    signal: Literal["training_loss", "validation_loss"]
    learning_rate: float
    parameters: GreedyLRParameters
    schedule: ResolvedSchedule

    @property
    def min_lr(self) -> float:
        """Lower bound as a rate, before the envelope."""
        return self.parameters.min_lr

    @property
    def max_lr(self) -> float:
        """Upper bound as a rate, before the envelope."""
        return self.parameters.max_lr

    @property
    def evaluations(self) -> int:
        """Number of losses that the run hands to the scheduler."""
        return self.schedule.total_steps // self.schedule.steps_per_evaluation

    @property
    def patience(self) -> int:
        """Evaluations: the rate moves at the first decision after more than so many of the same kind in a row."""
        return (self.parameters.patience + 1) * self.schedule.interval - 1

    @property
    def cooldown(self) -> int:
        """Evaluations of the stage after a lowering."""
        return self.parameters.cooldown * self.schedule.interval

    @property
    def warmup(self) -> int:
        """Evaluations of the stage after a raise."""
        return self.parameters.warmup * self.schedule.interval

    @property
    def window(self) -> int:
        """Evaluations over which the loss is averaged; 1 does not average."""
        return self.parameters.window_size if self.parameters.smooth else 1


def resolved_preset(
    preset: Preset, learning_rate: float, total_steps: int, *, steps_per_evaluation: int = 1
) -> ResolvedPreset:
    """Return what the preset does in a run; `Preset.resolve` documents it."""
    rule = preset.schedule.rule
    assert rule is not None  # Preset checks it
    schedule = preset.schedule.resolve(total_steps, steps_per_evaluation=steps_per_evaluation)
    parameters = schedule.parameters
    shortest = schedule.after_sweep()
    assert parameters is not None
    assert shortest.parameters is not None
    _require_enough_evaluations(shortest.parameters, shortest)
    _require_gentle_factors(rule, shortest)
    if parameters.bounds == "relative":
        parameters = replace(
            parameters,
            bounds="absolute",
            min_lr=parameters.min_lr * learning_rate,
            max_lr=parameters.max_lr * learning_rate,
            eps=parameters.eps * learning_rate,
        )
    if not parameters.min_lr <= learning_rate <= parameters.max_lr:
        raise ValueError(
            f"learning_rate must lie within the bounds {parameters.min_lr:g} and {parameters.max_lr:g}, which preset "
            f"{preset.name!r} has as rates, got {learning_rate!r}; take a preset whose bounds are relative to the start"
        )
    return ResolvedPreset(
        name=preset.name,
        content_hash=preset.content_hash,
        signal=preset.signal,
        learning_rate=float(learning_rate),
        parameters=parameters,
        schedule=schedule,
    )


def _require_enough_evaluations(parameters: GreedyLRParameters, schedule: ResolvedSchedule) -> None:
    first = 1 if parameters.first_loss == "sets_best" else 0
    needed = (parameters.patience + 1 + first) * schedule.interval
    evaluations = schedule.decide_until // schedule.steps_per_evaluation
    if evaluations < needed:
        raise ValueError(
            f"a run must have at least {needed} evaluations for a patience of {parameters.patience} ever to move the "
            f"rate, got {evaluations} (total_steps={schedule.total_steps}, "
            f"steps_per_evaluation={schedule.steps_per_evaluation}); evaluate more often or train longer"
        )


def _require_gentle_factors(rule: RelativeRule | GreedyLRParameters, schedule: ResolvedSchedule) -> None:
    """Raise ValueError where a factor is too strong, or would have to be for the rate to travel as far as it was meant.

    A rule that only lowers may cut as deep as it likes: what diverged were the raises.
    """
    rise = rule.factor if rule.increase_factor is None else rule.increase_factor
    if rise == 1:
        return
    coarser = _coarsening(rule, schedule)
    for name, factor in (("factor", rule.factor), ("increase_factor", rise)):
        if factor < LOWEST_FACTOR:
            raise ValueError(
                f"{name} must be at least {LOWEST_FACTOR} where the rate may rise, got {factor:g}; 0.25 diverged, "
                "choose one nearer to 1"
            )
        if factor**coarser < LOWEST_FACTOR:
            enough = max(1, int(_steps_between_moves(rule, schedule.total_steps)))
            raise ValueError(
                f"at this cadence (one evaluation in {schedule.steps_per_evaluation} steps, {coarser:.3g} times fewer "
                f"moves than the preset was made for) {name} would have to be {factor**coarser:.2g} instead of "
                f"{factor:g} for the rate to travel as far, and must be at least {LOWEST_FACTOR}; "
                f"hand over a loss at least every {enough} steps"
            )


def _coarsening(rule: RelativeRule | GreedyLRParameters, schedule: ResolvedSchedule) -> float:
    """Return how many times rarer moves can be than the preset asks, where evaluations are rarer than its decisions."""
    if not isinstance(rule, RelativeRule) or rule.interval * schedule.total_steps >= schedule.steps_per_evaluation:
        return 1.0
    if rule.interval == 0:
        return 1.0
    assert schedule.parameters is not None
    meant = _steps_between_moves(rule, schedule.total_steps)
    return max(1.0, (schedule.parameters.patience + 1) * schedule.steps_per_evaluation / meant)


def _steps_between_moves(rule: RelativeRule | GreedyLRParameters, total_steps: int) -> float:
    assert isinstance(rule, RelativeRule)
    return (rule.patience + rule.interval) * total_steps
