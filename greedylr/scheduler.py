"""GreedyLR for a torch optimizer: the controller decides in plain Python, the scheduler copies the rates."""

from __future__ import annotations

import hashlib
import json
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, get_args

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
from greedylr.rate_controller import Event, RateController
from greedylr.rule import GreedyLRParameters, require_choice, require_kind
from greedylr.scheduler_state import KEYS, require_keys, to_present_version
from greedylr.schedules import Envelope, ResolvedSchedule
from greedylr.snapshots import SnapshotKeeper, SnapshotPlace
from greedylr.strict_json import LARGEST_INTEGER, decode, encode, shorten

if TYPE_CHECKING:
    from torch import Tensor
    from torch.nn import Module

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
        Called with a `Decision` when the rule or exploration has moved what it multiplies the start by (the rate may
        still be the same, held by its bounds), and at each decision.
    preset
        The preset that the schedule comes from; `Preset.scheduler` says it.
    model
        The module whose weights and buffers a schedule with a probe or a rollback restores, with the state of the
        optimizer's; needed there, not looked at elsewhere. Load its weights before the first step.
    snapshots
        Where the one copy is kept that the two restore: "device", beside the model, or "host". It takes as many bytes
        as parameters, buffers and optimizer state, and a pass over them at each new best that a decision finds; with a
        probe alone it is given up after the sweep.

    Notes
    -----
    A sweep reads the loss at each evaluation. A restored training goes on with the batches that come: what is restored
    is the model and the optimizer's state, neither the data nor random numbers. A checkpoint's state holds the copy.
    Step after the optimizer: gradients of weights that are gone would ruin those that are back.

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
        model: Module | None = None,
        snapshots: SnapshotPlace = "device",
    ) -> None:
        resolved = _at_each_call(schedule) if isinstance(schedule, GreedyLRParameters) else schedule
        if not isinstance(resolved, ResolvedSchedule):
            raise ValueError(
                f"schedule must be a ResolvedSchedule or GreedyLRParameters, got {type(schedule).__name__}; of a "
                "preset take preset.scheduler(optimizer, total_steps), of a Schedule schedule.resolve(total_steps)"
            )
        require_choice("snapshots", snapshots, get_args(SnapshotPlace))
        require_kind("preset", preset, (PresetIdentity, type(None)), "preset.scheduler(optimizer, total_steps) says it")
        _require_listener("on_change", on_change)
        _require_listener("on_decision", on_decision)
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
        self._model, self._snapshots = model, snapshots
        self._keeper = self._new_keeper(resolved) if self.controller.needs_snapshot else None
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
        _require_listener("on_change", listener)
        self._on_change, self._plain = listener, False

    @property
    def on_decision(self) -> Listener | None:
        """Who is told of each decision."""
        return self._on_decision

    @on_decision.setter
    def on_decision(self, listener: Listener | None) -> None:
        _require_listener("on_decision", listener)
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
        """Return the state as plain builtins: the schedule it began with, its preset, and where it stands.

        Where weights may have to be restored there are tensors in it too, the copy that is kept of them.
        """
        self._read_waiting()
        snapshot = None if self._keeper is None else self._keeper.snapshot.state_dict()
        return {**self.controller.state_dict(), "preset": encode(self.preset), "snapshot": snapshot}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a state of `state_dict`, exactly.

        The state's schedule wins: a run that was stopped resumes with the preset it began with, whatever was loaded
        since; a warning says so where they differ.

        Raises
        ------
        ValueError
            As `RateController.load_state_dict`; nothing has changed then.
        """
        state = to_present_version(state, "probe", "rollback", "snapshot")
        require_keys("a scheduler state", (*KEYS, "preset", "snapshot"), state)
        preset = None if state["preset"] is None else decode(PresetIdentity, state["preset"], "preset")
        self._adopt_groups()
        own_schedule, own = self.controller.planned, self.preset
        read = self.controller.twin({key: state[key] for key in KEYS})
        keeper = self._keeper_of(read, state["snapshot"])
        self.controller.become(read)
        if self._keeper is not None:
            self._keeper.forget_start()
        self._keeper = keeper
        self._waiting.read()
        self.preset = preset
        if self.controller.planned != own_schedule or preset != own:
            warnings.warn(
                "GreedyLR resumes with the schedule that the run began with, "
                f"{_called(preset, self.controller.planned)}, not with {_called(own, own_schedule)}; "
                "start a new run to train with that one",
                stacklevel=2,
            )
        self._plain = False
        self._apply()

    def _new_keeper(self, schedule: ResolvedSchedule) -> SnapshotKeeper:
        if self._model is None:
            raise ValueError(
                f"model must be given where the schedule has a {' and a '.join(schedule.restores)}, which restores "
                "weights, got none; pass model=, the module that the optimizer trains"
            )
        return SnapshotKeeper(self._model, self.optimizer, self._snapshots)

    def _keeper_of(self, controller: RateController, snapshot: object) -> SnapshotKeeper | None:
        """Return what a controller that was saved with this snapshot needs to go on."""
        if (snapshot is not None) != controller.needs_snapshot:
            raise ValueError(
                "snapshot of a scheduler state must be there where weights may have to be restored, and nowhere else, "
                f"got {'one' if snapshot is not None else 'none'}; load a state as it was saved"
            )
        if snapshot is None:
            return None
        keeper = self._new_keeper(controller.planned)
        keeper.forget_start()
        keeper.snapshot.load_state_dict(snapshot)
        return keeper

    def _act(self) -> Event | None:
        """Do what the controller asks for with the weights, and return what that was."""
        controller, keeper = self.controller, self._keeper
        event = controller.take_event()
        if keeper is None or event is None:
            return None
        if event == "new_best":
            keeper.keep(controller.average)
        elif event == "give_up":
            warnings.warn(
                f"GreedyLR gives up rolling back after {controller.planned.rollback.limit} times; "  # type: ignore[union-attr]
                "the training goes on from where it is, a lower starting rate may help",
                stacklevel=5,
            )
        else:
            keeper.snapshot.restore()
        if not controller.needs_snapshot:
            keeper.forget_start()
            self._keeper = None
        return event

    def _pass_time(self) -> None:
        controller = self.controller
        if controller.schedule.parameters is not None and not self._warned:
            warnings.warn("GreedyLR.step() without a loss decides nothing: pass the loss", stacklevel=3)
            self._warned = True
        self._tell_after(lambda: controller.observe(None))

    def _listen_to(self, loss: object) -> None:
        if not self._looked_for_ranks:
            # Not in __init__: a process may join the others after it has made its scheduler.
            self.controller.average_with(average_of_ranks())
            self._looked_for_ranks = True
        self._plain = self.on_change is None and self.on_decision is None and self._keeper is None
        if self._plain:
            self._take(loss)  # no snapshot is kept, so nothing is to be done with the weights
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

    def _tell_after(self, act: Callable[[], object]) -> None:
        """Act, on the weights too, and tell the listeners what was decided."""
        if self._on_change is None and self._on_decision is None:
            act()
            self._act()
            return
        controller = self.controller
        old_rates, old_states, old_moment = controller.learning_rates, controller.states, controller.moment
        controller.take_decision()
        act()
        event = self._act()
        new_rates, step = controller.learning_rates, controller.steps_taken
        if (moment := controller.moment) != old_moment:
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
            kind = event if event in ("probe", "rollback") else kind_of(old_states, controller.states, loss)
            factor = controller.start_multiplier if event == "probe" else None
            self._tell(
                Decision(step=step, kind=kind, loss=loss, old_rates=old_rates, new_rates=new_rates, factor=factor)
            )

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


def _require_listener(name: str, listener: object) -> None:
    if listener is not None and not callable(listener):
        raise ValueError(f"{name} must be a function of a Decision, got {shorten(listener)}; None tells nobody")


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
    # What the longest sweep leaves: of a shorter one a few steps more are left, without a moment.
    shortest = schedule.after_sweep()
    return Exploration.planned(seed, shortest.total_steps, steps_per_evaluation=schedule.steps_per_evaluation)
