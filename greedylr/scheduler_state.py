"""The state of a scheduler as plain builtins and back; what cannot be a state is refused before anything changes."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NoReturn

from greedylr.exploration import Exploration
from greedylr.preset import require_learning_rate
from greedylr.rule import GreedyLRState
from greedylr.schedules import ResolvedSchedule
from greedylr.strict_json import decode, encode, shorten

STATE_VERSION = 1
KEYS = (
    "version",
    "schedule",
    "bounds",
    "exploration",
    "base_learning_rates",
    "step_count",
    "evaluations_since_decision",
    "non_finite_since_decision",
    "window",
    "states",
)
REMEDY = "load a state that state_dict() of this version made"
_COUNTS = ("num_good", "num_bad", "cooldown_counter", "warmup_counter", "reset_counter", "resets")


@dataclass(frozen=True, kw_only=True)
class ControllerState:
    """What a `RateController` needs to go on; `window` and `window_total` are those of its trailing mean."""

    schedule: ResolvedSchedule
    bounds: list[tuple[float, float]] | None
    exploration: Exploration | None
    base_learning_rates: tuple[float, ...]
    step_count: int
    evaluations_since_decision: int
    non_finite_since_decision: bool
    window: tuple[float, ...]
    window_total: float
    states: tuple[GreedyLRState, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return plain builtins."""
        return {
            "version": STATE_VERSION,
            "schedule": encode(self.schedule),
            "bounds": encode(self.bounds),
            "exploration": encode(self.exploration),
            "base_learning_rates": encode(self.base_learning_rates),
            "step_count": self.step_count,
            "evaluations_since_decision": self.evaluations_since_decision,
            "non_finite_since_decision": self.non_finite_since_decision,
            "window": {"values": encode(self.window), "total": encode(self.window_total)},
            "states": encode(self.states),
        }

    @classmethod
    def from_dict(cls, state: Mapping[str, Any], *, groups: int) -> ControllerState:
        """Return the state of plain builtins, for an optimizer with so many groups.

        Raises
        ------
        ValueError
            For a missing or unknown key, a value that cannot be, or another number of groups.
        """
        require_version(state)
        require_keys("a scheduler state", KEYS, state)
        require_keys("the window of a scheduler state", ("values", "total"), state["window"])
        schedule = decode(ResolvedSchedule, state["schedule"], "schedule")
        bounds = state["bounds"]
        if bounds is not None:
            bounds = list(decode(_Bounds, {"bounds": bounds}, "state").bounds)
        rates = tuple(_numbers("base_learning_rates", state["base_learning_rates"], groups))
        for rate in rates:
            require_learning_rate(rate)
        per_group = bounds is not None or (schedule.parameters is not None and schedule.parameters.bounds == "absolute")
        expected = 0 if schedule.parameters is None else groups if per_group else 1
        if not isinstance(state["non_finite_since_decision"], bool):
            _refuse("non_finite_since_decision", "true or false", state["non_finite_since_decision"])
        return cls(
            schedule=schedule,
            bounds=bounds,
            exploration=None
            if state["exploration"] is None
            else decode(Exploration, state["exploration"], "exploration"),
            base_learning_rates=rates,
            step_count=_count("step_count", state["step_count"]),
            evaluations_since_decision=_count("evaluations_since_decision", state["evaluations_since_decision"]),
            non_finite_since_decision=state["non_finite_since_decision"],
            window=tuple(_numbers("window.values", state["window"]["values"], None)),
            window_total=_number("window.total", state["window"]["total"]),
            states=tuple(map(_rule_state, _entries("states", state["states"], expected))),
        )


@dataclass(frozen=True)
class _Bounds:
    bounds: tuple[tuple[float, float], ...]


def require_version(state: object) -> None:
    """Raise ValueError unless this is a mapping that a scheduler of this version made."""
    if not isinstance(state, Mapping):
        raise ValueError(f"a scheduler state must be a mapping, got {shorten(state)}; {REMEDY}")
    if "version" in state and state["version"] != STATE_VERSION:
        raise ValueError(
            f"version of a scheduler state must be {STATE_VERSION}, got {shorten(state['version'])}; resume with the "
            "greedylr that the run began with"
        )


def require_keys(what: str, expected: tuple[str, ...], state: object) -> None:
    """Raise ValueError unless `state` has exactly these keys."""
    if not isinstance(state, Mapping) or set(state) != set(expected):
        got = sorted(map(str, state)) if isinstance(state, Mapping) else shorten(state)
        raise ValueError(f"{what} has exactly the keys {sorted(expected)}, got {got}; {REMEDY}")


def _rule_state(values: object) -> GreedyLRState:
    names = GreedyLRState._fields
    if not isinstance(values, list | tuple) or len(values) != len(names):
        raise ValueError(f"each of states must hold {', '.join(names)}, got {shorten(values)}; {REMEDY}")
    read = {
        name: _count(f"states.{name}", value) if name in _COUNTS else _number(f"states.{name}", value)
        for name, value in zip(names, values, strict=True)
    }
    if not all(0 <= read[name] < math.inf for name in ("learning_rate", "initial_learning_rate")):
        _refuse("states.learning_rate", "a finite number >= 0", values)
    return GreedyLRState(**read)  # type: ignore[arg-type]


def _entries(name: str, values: object, count: int | None) -> list[object]:
    if not isinstance(values, list | tuple):
        _refuse(name, "a list", values)
    if count is not None and len(values) != count:
        raise ValueError(
            f"{name} of a scheduler state must have {count} entries, got {len(values)}; "
            "resume with as many parameter groups as the run began with"
        )
    return list(values)


def _numbers(name: str, values: object, count: int | None) -> list[float]:
    return [_number(name, value) for value in _entries(name, values, count)]


def _number(name: str, value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        _refuse(name, "a number", value)
    return float(value)


def _count(name: str, value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        _refuse(name, "an integer >= 0", value)
    return value


def _refuse(name: str, rule: str, value: object) -> NoReturn:
    raise ValueError(f"{name} of a scheduler state must be {rule}, got {shorten(value)}; {REMEDY}")
