"""The state of a scheduler as plain builtins and back; what cannot be a state is refused before anything changes.

Version 2 added `probe`, `rollback` and, in the scheduler's own state, `snapshot`; a state of version 1 is read as one
whose schedule has neither.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NoReturn

from greedylr.exploration import Exploration
from greedylr.preset import require_learning_rate
from greedylr.probe import SweepState
from greedylr.rollback import RollbackState
from greedylr.rule import GreedyLRState
from greedylr.schedules import ResolvedSchedule
from greedylr.strict_json import decode, encode, shorten

STATE_VERSION = 2
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
    "probe",
    "rollback",
)
REMEDY = "load a state that state_dict() of this version made"
_COUNTS = ("num_good", "num_bad", "cooldown_counter", "warmup_counter", "reset_counter", "resets")


@dataclass(frozen=True, kw_only=True)
class ControllerState:
    """What a `RateController` needs to go on; `window` and `window_total` are those of its trailing mean.

    `schedule` is the one that the run began with; `sweep` is None before and after the sweep of a probe.
    """

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
    sweep: SweepState | None = None
    swept_steps: int = 0
    start_multiplier: float = 1.0
    rollback: RollbackState | None = None

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
            "probe": None if self.schedule.probe is None else self._probe_to_dict(),
            "rollback": None if self.rollback is None else self.rollback._asdict(),
        }

    def _probe_to_dict(self) -> dict[str, Any]:
        sweep = None if self.sweep is None else self.sweep._asdict()
        return {"sweep": sweep, "swept_steps": self.swept_steps, "start_multiplier": self.start_multiplier}

    @classmethod
    def from_dict(cls, state: Mapping[str, Any], *, groups: int) -> ControllerState:
        """Return the state of plain builtins, for an optimizer with so many groups.

        Raises
        ------
        ValueError
            For a missing or unknown key, a value that cannot be, or another number of groups.
        """
        state = to_present_version(state, "probe", "rollback")
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
            **_probe_state(schedule, state["probe"], state["step_count"]),
            rollback=_rollback_state(schedule, state["rollback"]),
        )


@dataclass(frozen=True)
class _Bounds:
    bounds: tuple[tuple[float, float], ...]


def require_version(state: object) -> None:
    """Raise ValueError unless this is a mapping that a scheduler of this version made."""
    if not isinstance(state, Mapping):
        raise ValueError(f"a scheduler state must be a mapping, got {shorten(state)}; {REMEDY}")
    if "version" in state and state["version"] not in (1, STATE_VERSION):
        raise ValueError(
            f"version of a scheduler state must be 1 or {STATE_VERSION}, got {shorten(state['version'])}; resume with "
            "the greedylr that the run began with"
        )


def to_present_version(state: Mapping[str, Any], *added: str) -> dict[str, Any]:
    """Return a state as one of this version, which has `added` these keys; the given one stays as it is."""
    require_version(state)
    if state.get("version") != 1:
        return dict(state)
    if early := sorted(set(added) & set(state)):
        raise ValueError(f"a scheduler state of version 1 has no {', '.join(early)}; {REMEDY}")
    return {**state, "version": STATE_VERSION, **dict.fromkeys(added)}


def require_keys(what: str, expected: tuple[str, ...], state: object) -> None:
    """Raise ValueError unless `state` has exactly these keys."""
    if not isinstance(state, Mapping) or set(state) != set(expected):
        got = sorted(map(str, state)) if isinstance(state, Mapping) else shorten(state)
        raise ValueError(f"{what} has exactly the keys {sorted(expected)}, got {got}; {REMEDY}")


def _probe_state(schedule: ResolvedSchedule, value: Any, step_count: int) -> dict[str, Any]:
    if schedule.probe is None:
        if value is not None:
            _refuse("probe", "None where the schedule has none", value)
        return {}
    require_keys("probe of a scheduler state", ("sweep", "swept_steps", "start_multiplier"), value)
    sweep, sweep_steps = value["sweep"], schedule.sweep_evaluations * schedule.steps_per_evaluation
    if sweep is not None:
        if step_count >= sweep_steps:
            _refuse("step_count", "below the steps of the sweep that goes on", step_count)
        require_keys("probe.sweep of a scheduler state", SweepState._fields, sweep)
        evaluations = _count("probe.sweep.evaluations", sweep["evaluations"])
        floats = {name: _number(f"probe.sweep.{name}", sweep[name]) for name in SweepState._fields[1:]}
        sweep = SweepState(evaluations, **floats)
    swept_steps = _count("probe.swept_steps", value["swept_steps"])
    if swept_steps > sweep_steps:
        _refuse("probe.swept_steps", "at most the steps of the sweep", swept_steps)
    multiplier = _number("probe.start_multiplier", value["start_multiplier"])
    if not 0 < multiplier < math.inf:
        _refuse("probe.start_multiplier", "a finite number > 0", multiplier)
    return {"sweep": sweep, "swept_steps": swept_steps, "start_multiplier": multiplier}


def _rollback_state(schedule: ResolvedSchedule, value: Any) -> RollbackState | None:
    if schedule.rollback is None:
        if value is not None:
            _refuse("rollback", "None where the schedule has none", value)
        return None
    require_keys("rollback of a scheduler state", RollbackState._fields, value)
    if not isinstance(value["given_up"], bool):
        _refuse("rollback.given_up", "true or false", value["given_up"])
    return RollbackState(
        first=_number("rollback.first", value["first"]),
        best=_number("rollback.best", value["best"]),
        rollbacks=_count("rollback.rollbacks", value["rollbacks"]),
        given_up=value["given_up"],
    )


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
