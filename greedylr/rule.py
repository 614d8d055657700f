"""The rule of GreedyLR as a pure function: raise the rate while the loss improves, lower it while it does not.

Three published GreedyLRs disagree (the article and the paper's appendix, the paper's algorithm 2, `transformers`); the
field `stages` chooses between them, and `GreedyLRParameters.like_transformers` is the third one exactly.

Sources: Subramanian, Krishnamoorthy & Murthy, "GreedyLR", arXiv 2512.14527 (2025), algorithms 1 and 2 and appendix;
Subramanian & Ganapathiraman, "Zeroth order GreedyLR" (PRML 2023); `transformers.GreedyLR` 5.23.0.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, NamedTuple, get_args

from greedylr.strict_json import shorten

Stages = Literal["hold", "continue", "silence"]
NonFinite = Literal["bad", "cut", "ignore", "compare"]
ThresholdMode = Literal["abs", "rel", "rel_signed"]
FirstLoss = Literal["sets_best", "good"]
Bounds = Literal["relative", "absolute"]

GUARD_CUT = 0.5
_INFINITE = (math.inf, -math.inf)


@dataclass(frozen=True, kw_only=True)
class GreedyLRParameters:
    """Parameters of the rule; the names that `transformers.GreedyLR` has too mean the same as there.

    Parameters
    ----------
    mode
        "min" for a loss, "max" for a score.
    factor
        In (0, 1]. A lowering multiplies the rate by it, a raise divides by it. 1 never moves the rate.
    increase_factor
        In (0, 1], or None for `factor`: what a raise divides by. 1 never raises, which is ReduceLROnPlateau.
    patience
        Decisions, >= 0: a move follows more than `patience` decisions in a row of the same kind.
    threshold, threshold_mode
        By how much a loss must beat the best to count as better: absolute, or relative to |best|. "rel_signed" is
        relative to the signed best, which inverts for negative losses as `transformers` does.
    cooldown, warmup
        Decisions, >= 0: length of the stage that follows a lowering, and a raise.
    stages
        What happens in a stage. "hold": nothing is counted, the best stays (`transformers`). "continue": the move is
        repeated at each decision (the article). "silence": only the opposite counter is silenced (algorithm 2).
    min_lr, max_lr, bounds
        Bounds of the rate, in multiples of the starting rate ("relative") or as rates ("absolute").
    eps
        >= 0, in the unit of the bounds: a change not larger than this is not made.
    smooth, window_size
        Whether the loss is averaged over the last `window_size` evaluations before the rule sees it.
    reset_start
        After this many lowerings at the lower bound the rate returns to its start; None never resets.
    guard
        >= 0 or None. A loss above best + guard x |best| halves the rate at once and caps it there, resets included.
    non_finite
        What a NaN or infinite loss is: one "bad" decision, a "cut" (lowered whatever the patience), nothing ("ignore"),
        or compared like any number ("compare", as `transformers` does). The first two act within stages too and do not
        shorten them.
    first_loss
        The first loss of a run "sets_best" and counts as neither good nor bad, or counts as "good".

    Raises
    ------
    ValueError
        For a value out of its range, naming rule, value and remedy.
    """

    mode: Literal["min", "max"] = "min"
    factor: float = 0.95
    increase_factor: float | None = None
    patience: int = 10
    threshold: float = 1e-6
    threshold_mode: ThresholdMode = "abs"
    cooldown: int = 0
    warmup: int = 0
    stages: Stages = "hold"
    min_lr: float = 1e-3
    max_lr: float = 10.0
    bounds: Bounds = "relative"
    eps: float = 0.0
    smooth: bool = False
    window_size: int = 50
    reset_start: int | None = None
    guard: float | None = None
    non_finite: NonFinite = "bad"
    first_loss: FirstLoss = "sets_best"

    def __post_init__(self) -> None:
        require_choice("mode", self.mode, ("min", "max"))
        require_choice("threshold_mode", self.threshold_mode, get_args(ThresholdMode))
        require_choice("stages", self.stages, get_args(Stages))
        require_choice("bounds", self.bounds, get_args(Bounds))
        require_choice("non_finite", self.non_finite, get_args(NonFinite))
        require_choice("first_loss", self.first_loss, get_args(FirstLoss))
        require_factor("factor", self.factor)
        if self.increase_factor is not None:
            require_factor("increase_factor", self.increase_factor)
        for name in ("patience", "cooldown", "warmup"):
            require_count(name, getattr(self, name), minimum=0)
        require_count("window_size", self.window_size, minimum=1)
        if self.reset_start is not None:
            require_count("reset_start", self.reset_start, minimum=0)
        for name in ("threshold", "eps", "min_lr"):
            require_number(name, getattr(self, name), minimum=0.0)
        require_number(
            "max_lr", self.max_lr, minimum=self.min_lr, why="it bounds the rate from above, min_lr from below"
        )
        if self.guard is not None:
            require_number("guard", self.guard, minimum=0.0)

    @classmethod
    def like_transformers(
        cls,
        *,
        mode: Literal["min", "max"] = "min",
        factor: float = 0.95,
        patience: int = 10,
        threshold: float = 1e-6,
        threshold_mode: Literal["abs", "rel"] = "abs",
        cooldown: int = 0,
        warmup: int = 0,
        min_lr: float = 1e-3,
        max_lr: float = 1.0,
        eps: float = 1e-8,
        smooth: bool = False,
        window_size: int = 50,
        reset_start: int = 500,
    ) -> GreedyLRParameters:
        """Return the rule of `transformers.GreedyLR` (5.23.0), its defaults and its faults included."""
        return cls(
            mode=mode,
            factor=factor,
            patience=patience,
            threshold=threshold,
            threshold_mode="rel_signed" if threshold_mode == "rel" else threshold_mode,
            cooldown=cooldown,
            warmup=warmup,
            min_lr=min_lr,
            max_lr=max_lr,
            bounds="absolute",
            eps=eps,
            smooth=smooth,
            window_size=window_size,
            reset_start=reset_start,
            non_finite="compare",
            first_loss="good",
        )

    @property
    def raise_factor(self) -> float:
        """What a raise divides the rate by."""
        return self.factor if self.increase_factor is None else self.increase_factor


class GreedyLRState(NamedTuple):
    """State of the rule; `learning_rate` and `ceiling` are in the unit of the parameters' bounds."""

    learning_rate: float
    initial_learning_rate: float
    best: float
    num_good: int
    num_bad: int
    cooldown_counter: int
    warmup_counter: int
    reset_counter: int
    resets: int
    ceiling: float


def initial_state(parameters: GreedyLRParameters, learning_rate: float = 1.0) -> GreedyLRState:
    """Return the state before the first loss; `learning_rate` is 1 where the bounds are relative."""
    require_number("learning_rate", learning_rate, minimum=0.0)
    return GreedyLRState(
        learning_rate=learning_rate,
        initial_learning_rate=learning_rate,
        best=_worst(parameters),
        num_good=0,
        num_bad=0,
        cooldown_counter=0,
        warmup_counter=0,
        reset_counter=parameters.reset_start or 0,
        resets=0,
        ceiling=math.inf,
    )


def next_state(
    parameters: GreedyLRParameters, state: GreedyLRState, loss: float, *, may_increase: bool = True
) -> GreedyLRState:
    """Return the state after one decision on `loss`, which is smoothed already where smoothing is wanted.

    With `may_increase` false a due raise is not made (its counter starts anew). O(1); changes nothing in place.
    """
    if parameters.non_finite != "compare" and not math.isfinite(loss):
        return _after_non_finite(parameters, state)
    if parameters.guard is not None and _guard_trips(parameters, state, loss):
        return guarded(parameters, state)
    if state.cooldown_counter > 0:
        state = state._replace(cooldown_counter=state.cooldown_counter - 1)
        return _in_stage(parameters, state, loss, lowering=True, may_increase=may_increase)
    if state.warmup_counter > 0:
        state = state._replace(warmup_counter=state.warmup_counter - 1)
        return _in_stage(parameters, state, loss, lowering=False, may_increase=may_increase)
    state = _count(parameters, state, loss)
    if state.num_good > parameters.patience or state.num_bad > parameters.patience:
        return _move(parameters, state, may_increase=may_increase)
    return state


def is_better(parameters: GreedyLRParameters, loss: float, best: float) -> bool:
    """Return whether `loss` beats `best` by more than the threshold."""
    threshold = parameters.threshold
    down = parameters.mode == "min"
    if parameters.threshold_mode == "abs":
        return loss < best - threshold if down else loss > best + threshold
    grows = best < 0 and parameters.threshold_mode == "rel"
    if down:
        return loss < best * (1.0 + threshold if grows else 1.0 - threshold)
    return loss > best * (1.0 - threshold if grows else 1.0 + threshold)


def _worst(parameters: GreedyLRParameters) -> float:
    return math.inf if parameters.mode == "min" else -math.inf


def _count(parameters: GreedyLRParameters, state: GreedyLRState, loss: float) -> GreedyLRState:
    # Runs at each decision, which may be each step: _replace, the plain way, takes five times as long.
    rate, start, best, num_good, num_bad, cooldown, warmup, reset_counter, resets, ceiling = state
    if best in _INFINITE and _sets_best(parameters, best, loss):
        best = loss
    elif is_better(parameters, loss, best):
        best, num_good, num_bad = loss, num_good + 1, 0
    else:
        num_good, num_bad = 0, num_bad + 1
    return tuple.__new__(
        GreedyLRState, (rate, start, best, num_good, num_bad, cooldown, warmup, reset_counter, resets, ceiling)
    )


def _sets_best(parameters: GreedyLRParameters, best: float, loss: float) -> bool:
    return parameters.first_loss == "sets_best" and best == _worst(parameters) and not math.isnan(loss)


def _move(parameters: GreedyLRParameters, state: GreedyLRState, *, may_increase: bool) -> GreedyLRState:
    if state.num_good > parameters.patience:
        if not may_increase:
            return state._replace(num_good=0)
        return _raised(parameters, state, parameters.warmup)
    if state.num_bad > parameters.patience:
        return _lowered(parameters, state, parameters.cooldown)
    return state


def _in_stage(
    parameters: GreedyLRParameters, state: GreedyLRState, loss: float, *, lowering: bool, may_increase: bool
) -> GreedyLRState:
    if parameters.stages == "silence":
        counted = _count(parameters, state, loss)
        counted = counted._replace(num_good=0) if lowering else counted._replace(num_bad=0)
        return _move(parameters, counted, may_increase=may_increase)
    state = state._replace(num_good=0, num_bad=0)
    if parameters.stages == "hold":
        return state
    if is_better(parameters, loss, state.best):
        state = state._replace(best=loss)
    if lowering:
        lowered = _lowered(parameters, state, state.cooldown_counter)
        return lowered if lowered.resets == state.resets else lowered._replace(cooldown_counter=0)
    return _raised(parameters, state, state.warmup_counter) if may_increase else state


def _raised(parameters: GreedyLRParameters, state: GreedyLRState, warmup: int) -> GreedyLRState:
    old, start, best, _, num_bad, cooldown, _, _, resets, ceiling = state
    new = min(old / parameters.raise_factor, parameters.max_lr, ceiling)
    rate = new if new - old > parameters.eps else old
    return tuple.__new__(
        GreedyLRState, (rate, start, best, 0, num_bad, cooldown, warmup, parameters.reset_start or 0, resets, ceiling)
    )


def _lowered(parameters: GreedyLRParameters, state: GreedyLRState, cooldown: int) -> GreedyLRState:
    old, start, best, num_good, _, _, warmup, reset_counter, resets, ceiling = state
    new = max(old * parameters.factor, parameters.min_lr)
    rate = new if old - new > parameters.eps else old
    if rate <= parameters.min_lr and parameters.reset_start is not None:
        if reset_counter <= 1:
            return initial_state(parameters, start)._replace(
                learning_rate=min(start, ceiling), cooldown_counter=cooldown, resets=resets + 1, ceiling=ceiling
            )
        reset_counter -= 1
    return tuple.__new__(
        GreedyLRState, (rate, start, best, num_good, 0, cooldown, warmup, reset_counter, resets, ceiling)
    )


def _guard_trips(parameters: GreedyLRParameters, state: GreedyLRState, loss: float) -> bool:
    if parameters.guard is None or math.isinf(state.best):
        return False
    excess = loss - state.best if parameters.mode == "min" else state.best - loss
    return excess > parameters.guard * abs(state.best)


def guarded(parameters: GreedyLRParameters, state: GreedyLRState) -> GreedyLRState:
    """Return the state after a loss beyond the guard: the rate halved and capped there, the counters anew."""
    # min() keeps a rate that started below the lower bound from being raised by a cut.
    rate = min(state.learning_rate, max(state.learning_rate * GUARD_CUT, parameters.min_lr))
    return state._replace(learning_rate=rate, ceiling=rate, num_good=0, num_bad=0)


def _after_non_finite(parameters: GreedyLRParameters, state: GreedyLRState) -> GreedyLRState:
    if parameters.non_finite == "ignore":
        return state
    if parameters.non_finite == "cut":
        return _lowered(parameters, state, parameters.cooldown)._replace(warmup_counter=0, num_good=0)
    return _move(parameters, state._replace(num_good=0, num_bad=state.num_bad + 1), may_increase=False)


def require_choice(name: str, value: object, choices: tuple[str, ...]) -> None:
    """Raise ValueError unless `value` is one of `choices`."""
    if value not in choices:
        raise ValueError(f"{name} must be one of {', '.join(map(repr, choices))}, got {value!r}")


def require_number(name: str, value: object, *, minimum: float, why: str = "") -> None:
    """Raise ValueError unless `value` is a finite number of at least `minimum`."""
    if not _is_finite_number(value) or value < minimum:  # type: ignore[operator]
        rule = "a finite number" if minimum == -math.inf else f"a finite number >= {minimum:g}"
        raise ValueError(f"{name} must be {rule}, got {value!r}" + (f"; {why}" if why else ""))


def _is_finite_number(value: object) -> bool:
    if not isinstance(value, int | float) or isinstance(value, bool):
        return False
    try:
        return math.isfinite(value)
    except OverflowError:  # an integer beyond the floats
        return False


def require_count(name: str, value: object, *, minimum: int) -> None:
    """Raise ValueError unless `value` is an integer of at least `minimum`."""
    if not isinstance(value, int) or isinstance(value, bool) or value < minimum:
        raise ValueError(f"{name} must be an integer >= {minimum}, got {value!r}")


def require_kind(name: str, value: object, kind: type | tuple[type, ...], remedy: str) -> None:
    """Raise ValueError unless `value` is of one of these types."""
    if not isinstance(value, kind):
        kinds = " or ".join(each.__name__ for each in (kind if isinstance(kind, tuple) else (kind,)))
        raise ValueError(f"{name} must be of type {kinds.replace('NoneType', 'None')}, got {shorten(value)}; {remedy}")


def require_factor(name: str, value: object) -> None:
    """Raise ValueError unless `value` lies in (0, 1]."""
    require_number(name, value, minimum=0.0)
    if not 0 < value <= 1:  # type: ignore[operator]
        raise ValueError(f"{name} must lie in (0, 1], got {value!r}; GreedyLR divides by it to raise the rate")


def require_share(name: str, value: object) -> None:
    """Raise ValueError unless `value` lies in [0, 1]."""
    require_number(name, value, minimum=0.0)
    if value > 1:  # type: ignore[operator]
        raise ValueError(f"{name} is a share of the run and must lie in [0, 1], got {value!r}")
