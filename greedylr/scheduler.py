"""GreedyLR for a torch optimizer: the controller decides in plain Python, the scheduler copies the rates."""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from greedylr.preset import require_learning_rate
from greedylr.rule import GreedyLRParameters, GreedyLRState, initial_state, next_state
from greedylr.schedules import Envelope, ResolvedSchedule
from greedylr.smoothing import TrailingMean
from greedylr.strict_json import encode

if TYPE_CHECKING:
    from torch import Tensor
    from torch.optim import Optimizer

# Long enough for any run; a scheduler without a preset has an envelope of 1 and no planned length.
UNBOUNDED = 2**62
DEFAULT_PARAMETERS = GreedyLRParameters()


class RateController:
    """The rates of one run, one a parameter group; knows neither torch nor an optimizer.

    `learning_rates` are those of the next step. With relative bounds the groups share one multiplier and keep their
    ratios; with absolute bounds each group has its own rate, moved at the same moments.
    """

    def __init__(self, schedule: ResolvedSchedule, learning_rates: Sequence[float]) -> None:
        for rate in learning_rates:
            require_learning_rate(rate)
        self.schedule = schedule
        self.base_learning_rates = tuple(map(float, learning_rates))
        self.step_count = 0
        self.evaluations_since_decision = 0
        self.non_finite_since_decision = False
        self._window = TrailingMean(1)
        self._states: list[GreedyLRState] = []
        if (parameters := schedule.parameters) is not None:
            # "compare" is transformers' rule, whose running sum keeps what it has once swallowed.
            keeps_errors = parameters.non_finite == "compare"
            self._window = TrailingMean(parameters.window_size, keeps_errors=keeps_errors)
            starts = self.base_learning_rates if parameters.bounds == "absolute" else (1.0,)
            self._states = [initial_state(parameters, start) for start in starts]

    @property
    def learning_rates(self) -> tuple[float, ...]:
        """Rates of the next step."""
        envelope = self.schedule.envelope_multiplier(self.step_count)
        parameters = self.schedule.parameters
        if parameters is not None and parameters.bounds == "absolute":
            return tuple(envelope * state.learning_rate for state in self._states)
        return tuple(envelope * self.multiplier * rate for rate in self.base_learning_rates)

    @property
    def multiplier(self) -> float:
        """What the rule has made of the starting rate of the first group; 1 for a schedule without a rule."""
        if not self._states:
            return 1.0
        return self._states[0].learning_rate / self._states[0].initial_learning_rate

    def observe(self, loss: float | None) -> None:
        """Take the loss of one evaluation; None lets time pass and decides nothing.

        A NaN or infinite loss stays out of the mean and makes the decision that ends its interval a non-finite one;
        where such losses are ignored it is as if none had come.
        """
        self.step_count += self.schedule.steps_per_evaluation
        parameters = self.schedule.parameters
        if parameters is None or loss is None:
            return
        loss = float(loss)
        if math.isfinite(loss) or parameters.non_finite == "compare":
            if parameters.smooth:
                self._window.push(loss)
        elif parameters.non_finite == "ignore":
            return
        else:
            self.non_finite_since_decision = True
        self.evaluations_since_decision += 1
        if self.evaluations_since_decision < self.schedule.interval or self.step_count > self.schedule.decide_until:
            return
        if self.non_finite_since_decision:
            loss = math.nan
        elif parameters.smooth:
            loss = self._window.mean()
        self.evaluations_since_decision, self.non_finite_since_decision = 0, False
        self._decide(parameters, loss)

    def _decide(self, parameters: GreedyLRParameters, loss: float) -> None:
        may_increase = self.step_count <= self.schedule.increase_until
        states = [next_state(parameters, state, loss, may_increase=may_increase) for state in self._states]
        reset = [new.resets > old.resets for new, old in zip(states, self._states, strict=True)]
        if all(reset):
            self._window.clear()
        elif any(reset):
            # Groups that have waited long enough wait for the others, so that all go on from the same best.
            waiting = replace(parameters, reset_start=None)
            states = [
                next_state(waiting, old, loss, may_increase=may_increase) if early else new
                for old, new, early in zip(self._states, states, reset, strict=True)
            ]
        self._states = states

    def state_dict(self) -> dict[str, Any]:
        """Return the state as plain builtins; with the schedule it began with."""
        return {
            "schedule": encode(self.schedule),
            "base_learning_rates": list(self.base_learning_rates),
            "step_count": self.step_count,
            "evaluations_since_decision": self.evaluations_since_decision,
            "non_finite_since_decision": self.non_finite_since_decision,
            "window": {"values": list(self._window.values), "total": self._window.total},
            "states": [list(state) for state in self._states],
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a state of `state_dict`.

        Raises
        ------
        ValueError
            If a key is missing or unknown, or the state was made by another schedule or for another number of groups;
            nothing has changed then.
        """
        _require_alike(self.state_dict(), state)
        self.base_learning_rates = tuple(state["base_learning_rates"])
        self.step_count = state["step_count"]
        self.evaluations_since_decision = state["evaluations_since_decision"]
        self.non_finite_since_decision = state["non_finite_since_decision"]
        self._window = TrailingMean(self._window.window_size, **state["window"], keeps_errors=self._window.keeps_errors)
        self._states = [GreedyLRState(*values) for values in state["states"]]


def _require_alike(own: Mapping[str, Any], state: Mapping[str, Any]) -> None:
    _require_same_keys("a scheduler state", own, state)
    _require_same_keys("the window of a scheduler state", own["window"], state["window"])
    if state["schedule"] != own["schedule"]:
        raise ValueError("the state was made by another schedule; resume with the preset that the run began with")
    for name in ("base_learning_rates", "states"):
        if len(state[name]) != len(own[name]):
            raise ValueError(
                f"{name} of a scheduler state must have {len(own[name])} entries, got {len(state[name])}; "
                "resume with as many parameter groups as the run began with"
            )
    if any(len(values) != len(GreedyLRState._fields) for values in state["states"]):
        raise ValueError(f"each of states must hold {', '.join(GreedyLRState._fields)}, got {state['states']!r}")


def _require_same_keys(what: str, expected: Mapping[str, Any], state: Mapping[str, Any]) -> None:
    if set(state) != set(expected):
        raise ValueError(
            f"{what} has exactly the keys {sorted(expected)}, got {sorted(map(str, state))}; "
            "load a state that state_dict() of this version made"
        )


class GreedyLR:
    """Scheduler that raises the rate while the loss improves and lowers it while it does not.

    Parameters
    ----------
    optimizer
        A torch optimizer; its groups' `lr` are the starting rates.
    schedule
        What the rate does: a preset's `schedule.resolve(total_steps)`, or `GreedyLRParameters` to decide at each call;
        the default is the rule's defaults.

    Examples
    --------
    >>> import torch
    >>> weight = torch.nn.Parameter(torch.zeros(1))
    >>> optimizer = torch.optim.SGD([weight], lr=0.1)
    >>> scheduler = GreedyLR(optimizer, GreedyLRParameters(patience=0, factor=0.5))
    >>> for loss in (3.0, 2.0, 2.5):
    ...     scheduler.step(loss)
    ...     print(scheduler.get_last_lr())
    [0.1]
    [0.2]
    [0.1]
    """

    def __init__(
        self, optimizer: Optimizer, schedule: ResolvedSchedule | GreedyLRParameters = DEFAULT_PARAMETERS
    ) -> None:
        if isinstance(schedule, GreedyLRParameters):
            schedule = ResolvedSchedule(
                envelope=Envelope(),
                parameters=schedule,
                total_steps=UNBOUNDED,
                increase_until=UNBOUNDED,
                decide_until=UNBOUNDED,
            )
        self.optimizer = optimizer
        self.controller = RateController(schedule, [float(group["lr"]) for group in optimizer.param_groups])
        self._warned = False
        self._apply()

    def step(self, loss: float | Tensor | None = None) -> None:
        """Take the loss of an evaluation and set the rates of the next step; without a loss no decision is made."""
        if loss is None and self.controller.schedule.parameters is not None and not self._warned:
            warnings.warn("GreedyLR.step() without a loss decides nothing: pass the loss", stacklevel=2)
            self._warned = True
        # item(), because float() of a loss that still has its graph warns.
        self.controller.observe(loss if loss is None or isinstance(loss, int | float) else loss.item())
        self._apply()

    def get_last_lr(self) -> list[float]:
        """Return the rates of the groups as they stand."""
        return [float(group["lr"]) for group in self.optimizer.param_groups]

    def state_dict(self) -> dict[str, Any]:
        """Return the state as plain builtins."""
        return self.controller.state_dict()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a state of `state_dict`, exactly; errors as `RateController.load_state_dict`."""
        self.controller.load_state_dict(state)
        self._apply()

    def _apply(self) -> None:
        groups, rates = self.optimizer.param_groups, self.controller.learning_rates
        if len(groups) != len(rates):
            raise ValueError(
                f"the optimizer must keep the {len(rates)} parameter groups that the scheduler was made for, "
                f"got {len(groups)}; add groups before making the scheduler"
            )
        for group, rate in zip(groups, rates, strict=True):
            if isinstance(group["lr"], int | float):
                group["lr"] = rate
            else:
                group["lr"].fill_(rate)  # a tensor, which a compiled optimizer reads in place
