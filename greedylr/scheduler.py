"""GreedyLR for a torch optimizer: the controller decides in plain Python, the scheduler copies the rates."""

from __future__ import annotations

import hashlib
import json
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from greedylr.decisions import Decision, kind_of
from greedylr.device_losses import DeviceLosses
from greedylr.distributed import average_of_ranks
from greedylr.exploration import Exploration
from greedylr.loss_reading import as_number, is_tensor, require_one_number
from greedylr.parameter_groups import (
    HasParameterGroups,
    bounds_of_groups,
    parameter_groups,
    part_shared_rates,
    read_rate,
    write_rate,
)
from greedylr.rate_controller import RateController
from greedylr.rule import GreedyLRParameters
from greedylr.scheduler_state import KEYS, require_keys, require_version
from greedylr.schedules import Envelope, ResolvedSchedule
from greedylr.strict_json import LARGEST_INTEGER, decode, encode

if TYPE_CHECKING:
    from torch import Tensor

# Long enough for any run; a scheduler without a preset has an envelope of 1 and no planned length.
UNBOUNDED = LARGEST_INTEGER
DEFAULT_PARAMETERS = GreedyLRParameters()
Listener = Callable[[Decision], None]


@dataclass(frozen=True, kw_only=True)
class PresetIdentity:
    """Which preset a schedule was resolved from."""

    name: str
    content_hash: str


class GreedyLR:
    """Scheduler that raises the rate while the loss improves and lowers it while it does not.

    Parameters
    ----------
    optimizer
        A torch optimizer, or whatever has `param_groups` like one; its groups' `lr` are the starting rates. A rate held
        in a tensor is changed in place. A group added later joins at its own rate times what the rule has made of the
        first group's.
    schedule
        What the rate does: a preset's `schedule.resolve(total_steps)`, or `GreedyLRParameters` to decide at each call;
        the default is the rule's defaults.
    min_lr, max_lr
        One number a group, in the unit of the schedule's bounds, which they replace; each group then moves for itself
        within its own. None leaves the schedule's.
    explore
        A seed: at 3 to 5 random moments the rate is multiplied by a random factor of 1/3, 1 or 3, on record for
        whoever listens. None does not. Needs a schedule with a planned length, and on every rank the same
        seed.
    on_change, on_decision
        Called with a `Decision` when the rule or exploration has changed the rate, and at each decision.
    preset
        The preset that the schedule comes from; `Preset.scheduler` says it.

    Notes
    -----
    In a distributed run the loss is averaged over the ranks before each decision, so every rank must step as often. A
    window is each rank's own: resume each rank from its own state, or all from one and their rates stay alike.

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
        self,
        optimizer: HasParameterGroups,
        schedule: ResolvedSchedule | GreedyLRParameters = DEFAULT_PARAMETERS,
        *,
        min_lr: Sequence[float] | None = None,
        max_lr: Sequence[float] | None = None,
        explore: int | None = None,
        on_change: Listener | None = None,
        on_decision: Listener | None = None,
        preset: PresetIdentity | None = None,
    ) -> None:
        resolved = _at_each_call(schedule) if isinstance(schedule, GreedyLRParameters) else schedule
        if not isinstance(resolved, ResolvedSchedule):
            raise ValueError(
                f"schedule must be a ResolvedSchedule or GreedyLRParameters, got {type(schedule).__name__}; of a "
                "preset take preset.scheduler(optimizer, total_steps), of a Schedule schedule.resolve(total_steps)"
            )
        groups = parameter_groups(optimizer)
        rates = [read_rate(group) for group in groups]
        self.optimizer = optimizer
        self.preset = preset
        self._on_change, self._on_decision = on_change, on_decision
        self.controller = RateController(
            resolved,
            rates,
            bounds=bounds_of_groups(resolved.parameters, min_lr, max_lr, len(rates)),
            exploration=None if explore is None else _exploration(explore, resolved),
        )
        part_shared_rates(groups)
        self._groups = len(groups)
        self._waiting = DeviceLosses()
        self._warned = False
        self._looked_for_ranks = False
        # True while a step is nothing but observe(): no listener, no loss on a device, ranks looked for.
        self._plain = False
        self._apply()

    @property
    def on_change(self) -> Listener | None:
        """Who is told of each change of the rate by the rule or by exploration."""
        return self._on_change

    @on_change.setter
    def on_change(self, listener: Listener | None) -> None:
        self._on_change, self._plain = listener, False

    @property
    def on_decision(self) -> Listener | None:
        """Who is told of each decision."""
        return self._on_decision

    @on_decision.setter
    def on_decision(self, listener: Listener | None) -> None:
        self._on_decision, self._plain = listener, False

    def step(self, loss: float | Tensor | None = None) -> None:
        """Take the loss of an evaluation and set the rates of the next step; without a loss no decision is made.

        A loss on another device than the CPU stays there until its decision: the device is waited for once an interval.

        Raises
        ------
        ValueError
            If the loss is not one number.
        """
        if type(loss) is not float and getattr(loss, "is_cpu", False):
            loss = as_number(loss)
        if self._plain and type(loss) is float:
            if not self.controller.observe(loss) and len(self.optimizer.param_groups) == self._groups:
                return
        elif loss is None:
            self._pass_time()
        else:
            self._listen_to(loss)
        self._apply()

    def get_last_lr(self) -> list[float]:
        """Return the rates of the groups as they stand."""
        return [read_rate(group) for group in self.optimizer.param_groups]

    def state_dict(self) -> dict[str, Any]:
        """Return the state as plain builtins: the schedule it began with, its preset, and where it stands."""
        self._read_waiting()
        return {**self.controller.state_dict(), "preset": encode(self.preset)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a state of `state_dict`, exactly.

        The state's schedule wins: a run that was stopped resumes with the preset it began with, whatever was loaded
        since; a warning says so where they differ.

        Raises
        ------
        ValueError
            As `RateController.load_state_dict`; nothing has changed then.
        """
        require_version(state)
        require_keys("a scheduler state", (*KEYS, "preset"), state)
        preset = None if state["preset"] is None else decode(PresetIdentity, state["preset"], "preset")
        self._adopt_groups()
        own_schedule, own = self.controller.schedule, self.preset
        self.controller.load_state_dict({key: value for key, value in state.items() if key != "preset"})
        self._waiting.read()
        self.preset = preset
        if self.controller.schedule != own_schedule or preset != own:
            warnings.warn(
                "GreedyLR resumes with the schedule that the run began with, "
                f"{_called(preset, self.controller.schedule)}, not with {_called(own, own_schedule)}; "
                "start a new run to train with that one",
                stacklevel=2,
            )
        self._plain = False
        self._apply()

    def _pass_time(self) -> None:
        controller = self.controller
        if controller.schedule.parameters is not None and not self._warned:
            warnings.warn("GreedyLR.step() without a loss decides nothing: pass the loss", stacklevel=3)
            self._warned = True
        self._tell_after(controller.advance)

    def _listen_to(self, loss: object) -> None:
        if not self._looked_for_ranks:
            # Not in __init__: a process may join the others after it has made its scheduler.
            self.controller.average_with(average_of_ranks())
            self._looked_for_ranks = True
        self._plain = self.on_change is None and self.on_decision is None
        if self._plain:
            self._take(loss)
        else:
            self._tell_after(lambda: self._take(loss))

    def _take(self, loss: object) -> None:
        controller, waiting = self.controller, self._waiting
        if is_tensor(loss) and not loss.is_cpu:  # type: ignore[attr-defined]
            self._wait(loss)
        else:
            value = as_number(loss)
            self._read_waiting()
            controller.observe(value)
        self._plain = self._plain and not waiting

    def _wait(self, loss: Any) -> None:
        """Let a loss wait on its device, and read all that wait there where a decision is due."""
        controller, waiting = self.controller, self._waiting
        require_one_number(loss)
        if not waiting.fits(loss):
            self._read_waiting()
        controller.advance()
        needed = controller.evaluations_to_decision()
        if needed is None:
            return
        waiting.push(loss, capacity=needed)
        if len(waiting) >= needed:
            self._read_waiting()

    def _read_waiting(self) -> None:
        for loss in self._waiting.read():
            self.controller.take(loss)

    def _tell_after(self, act: Callable[[], None]) -> None:
        """Act, and tell the listeners what was decided."""
        if self._on_change is None and self._on_decision is None:
            act()
            return
        controller = self.controller
        old_rates, old_states, old_exploration = controller.learning_rates, controller.states, controller.exploration
        old_moment = None if old_exploration is None else old_exploration.moment_at(controller.step_count)
        controller.take_decision()
        act()
        new_rates, step = controller.learning_rates, controller.step_count
        if controller.exploration is not None and (moment := controller.exploration.moment_at(step)) != old_moment:
            assert moment is not None  # time does not go back
            self._tell(
                Decision(
                    step=step,
                    kind="explore",
                    loss=None,
                    old_rates=old_rates,
                    new_rates=new_rates,
                    factor=moment.factor,
                    probability=moment.probability,
                )
            )
        if (loss := controller.take_decision()) is not None:
            kind = kind_of(old_states, controller.states, loss)
            self._tell(Decision(step=step, kind=kind, loss=loss, old_rates=old_rates, new_rates=new_rates))

    def _tell(self, decision: Decision) -> None:
        if self.on_decision is not None:
            self.on_decision(decision)
        if self.on_change is not None and decision.kind != "hold":
            self.on_change(decision)

    def _adopt_groups(self) -> None:
        """Take in groups that the optimizer was given since."""
        groups, known = parameter_groups(self.optimizer), len(self.controller.base_learning_rates)
        if len(groups) < known:
            raise ValueError(
                f"the optimizer must keep the {known} parameter groups that the scheduler has seen, "
                f"got {len(groups)}; make a new scheduler for another optimizer"
            )
        for group in groups[known:]:
            self.controller.add_group(read_rate(group))
        part_shared_rates(groups)
        self._groups = len(groups)

    def _apply(self) -> None:
        groups = self.optimizer.param_groups
        if len(groups) != self._groups:
            self._adopt_groups()
        for group, rate in zip(groups, self.controller.learning_rates, strict=True):
            if group["lr"] is not rate:
                write_rate(group, rate)


def schedule_hash(schedule: ResolvedSchedule) -> str:
    """Return 16 hexadecimal digits of the SHA-256 of a resolved schedule."""
    return hashlib.sha256(json.dumps(encode(schedule), sort_keys=True).encode()).hexdigest()[:16]


def _called(preset: PresetIdentity | None, schedule: ResolvedSchedule) -> str:
    if preset is None:
        return f"schedule {schedule_hash(schedule)}"
    return f"preset {preset.name!r} {preset.content_hash} (schedule {schedule_hash(schedule)})"


def _at_each_call(parameters: GreedyLRParameters) -> ResolvedSchedule:
    return ResolvedSchedule(
        envelope=Envelope(),
        parameters=parameters,
        total_steps=UNBOUNDED,
        increase_until=UNBOUNDED,
        decide_until=UNBOUNDED,
    )


def _exploration(seed: int, schedule: ResolvedSchedule) -> Exploration:
    if schedule.total_steps == UNBOUNDED:
        raise ValueError(
            "explore needs to know how long the run is, got a schedule without total_steps; "
            "resolve one with total_steps"
        )
    return Exploration.planned(seed, schedule.total_steps, steps_per_evaluation=schedule.steps_per_evaluation)
