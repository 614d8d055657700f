"""The rates of one run in plain Python: envelope, rule, smoothing, exploration, and when to restore what weights.

Knows neither torch nor optimizers: what is to be kept or restored it says as an event, which the scheduler acts on.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal

from greedylr.exploration import Exploration, Moment
from greedylr.preset import require_learning_rate
from greedylr.probe import SweepState, chosen_multiplier, next_sweep
from greedylr.rollback import RollbackEvent, RollbackState, next_rollback, rolled_back
from greedylr.rule import GreedyLRParameters, GreedyLRState, initial_state, next_state
from greedylr.running_rule import RunningRule
from greedylr.scheduler_state import ControllerState
from greedylr.schedules import ResolvedSchedule
from greedylr.smoothing import TrailingMean

NEVER = math.inf
Bounds = tuple[float, float]
Event = Literal["probe"] | RollbackEvent


class RateController:
    """The rates of one run, one a parameter group.

    `learning_rates` are those of the next step. With relative bounds the groups share one multiplier and keep their
    ratios; with absolute bounds, or with bounds of their own, each group has its own rate, moved at the same moments.
    Where the schedule has a probe or a rollback, whoever steps takes each event with `take_event` and acts on it:
    "probe" and "rollback" restore what was kept, "new_best" keeps what there is.

    Parameters
    ----------
    schedule
        What the rates do.
    learning_rates
        Starting rates, > 0, one a group.
    bounds
        (min_lr, max_lr) of each group, in the unit of the schedule's bounds, which they replace.
    exploration
        Random factors on the rate at random moments, or None.

    Attributes
    ----------
    average
        What a loss goes through before the rule decides on it: the mean over the ranks of a distributed run. None is
        no such thing.
    planned, schedule
        The schedule that the run began with, and the one in force: after a sweep that of the steps which it left.
    step_count
        Steps taken under the schedule in force; `steps_taken` has those of the sweep too.
    """

    def __init__(
        self,
        schedule: ResolvedSchedule,
        learning_rates: Sequence[float],
        *,
        bounds: Sequence[Bounds] | None = None,
        exploration: Exploration | None = None,
    ) -> None:
        for rate in learning_rates:
            require_learning_rate(rate)
        self._decided_on: float | None = None
        self._event: Event | None = None
        self.planned = schedule
        self.sweep = None if schedule.probe is None else SweepState()
        self.swept_steps, self.start_multiplier = 0, 1.0
        self.rollback = None if schedule.rollback is None else RollbackState()
        self.base_learning_rates = tuple(map(float, learning_rates))
        self.step_count = 0
        self.evaluations_since_decision = 0
        self.non_finite_since_decision = False
        self.average: Callable[[float], float] | None = None
        self.exploration = exploration
        parameters = schedule.parameters
        starts = self.base_learning_rates if parameters is not None and parameters.bounds == "absolute" else None
        self._follow(schedule, bounds, starts)

    def _follow(
        self, schedule: ResolvedSchedule, bounds: Sequence[Bounds] | None, starts: Sequence[float] | None
    ) -> None:
        """Take a schedule: its rules, one for all groups or one a group, at the start, and an empty window."""
        groups = len(self.base_learning_rates)
        self.schedule = schedule
        self.bounds = None if bounds is None else [(float(lower), float(upper)) for lower, upper in bounds]
        self._rates: tuple[float, ...] | None = None
        self._window = TrailingMean(1)
        self._rules: list[RunningRule] = []
        parameters = schedule.parameters
        if bounds is not None and (parameters is None or len(bounds) != groups):
            raise ValueError(
                f"bounds need a schedule with a rule and must be as many as the {groups} parameter groups, "
                f"got {len(bounds)}; give one pair a group, or none"
            )
        if parameters is not None:
            # "compare" is transformers' rule, whose running sum keeps what it has once swallowed.
            self._window = TrailingMean(parameters.window_size, keeps_errors=parameters.non_finite == "compare")
            each = [replace(parameters, min_lr=lower, max_lr=upper) for lower, upper in self.bounds or ()]
            starts = starts or (1.0,) * max(1, len(each))
            each = each or [parameters] * len(starts)
            self._rules = [
                RunningRule(rule, initial_state(rule, start)) for rule, start in zip(each, starts, strict=True)
            ]
        self._prepare()

    def _prepare(self) -> None:
        """Work out once what `observe` needs at each step: where a step is nothing but a loss for one rule."""
        schedule = self.schedule
        level = schedule.envelope.level_steps(schedule.total_steps)
        # A step before the level ones has another multiplier, so the first level one is not alike its predecessor.
        self._alike_from, self._alike_until = level.start + schedule.steps_per_evaluation, level.stop
        if not level or self.exploration is not None or self.sweep is not None:
            self._alike_from, self._alike_until = 0, 0
        alone = len(self._rules) == 1 and self.average is None and not self.needs_snapshot
        self._swift_until = schedule.decide_until + 1 if alone else 0
        self._smooth = schedule.parameters is not None and schedule.parameters.smooth
        self._interval, self._stride = schedule.interval, schedule.steps_per_evaluation
        self._counts = self._rules[0].counts if self._rules else _never

    def average_with(self, average: Callable[[float], float] | None) -> None:
        """Let every loss go through `average` before the rule decides: the mean over the ranks of a distributed run."""
        self.average = average
        self._prepare()

    @property
    def learning_rates(self) -> tuple[float, ...]:
        """Rates of the next step."""
        if self._rates is None:
            self._rates = self._computed_rates()
        return self._rates

    @property
    def steps_taken(self) -> int:
        """Steps of the run so far."""
        return self.swept_steps + self.step_count

    @property
    def moment(self) -> Moment | None:
        """The moment of exploration that the next step stands under; a sweep comes before them all."""
        if self.exploration is None or self.sweep is not None:
            return None
        return self.exploration.moment_at(self.step_count)

    @property
    def needs_snapshot(self) -> bool:
        """Whether something may yet have to be restored."""
        return self.sweep is not None or (self.rollback is not None and not self.rollback.given_up)

    @property
    def may_restore(self) -> bool:
        """Whether a decision is still to come that may restore something: a run that is ruined may yet be saved."""
        if not self.needs_snapshot or self.sweep is not None:
            return self.sweep is not None
        needed = self.evaluations_to_decision()
        return needed is not None and self.step_count + needed * self._stride <= self.schedule.decide_until

    @property
    def multiplier(self) -> float:
        """What the rule has made of the starting rate of the first group; 1 for a schedule without a rule."""
        if not self._rules:
            return 1.0
        first = self._rules[0].state
        return first.learning_rate / first.initial_learning_rate

    @property
    def states(self) -> tuple[GreedyLRState, ...]:
        """States of the rule: one for all groups, or one a group."""
        return tuple(rule.state for rule in self._rules)

    def _computed_rates(self) -> tuple[float, ...]:
        if self.planned.probe is not None and self.sweep is not None:
            swept = self.planned.probe.multiplier(self.step_count // self._stride, self.planned.sweep_evaluations)
            return tuple([swept * base for base in self.base_learning_rates])
        envelope = self.schedule.envelope_multiplier(self.step_count)
        factor = 1.0 if self.exploration is None else self.exploration.factor_at(self.step_count)
        if not self._rules:
            return tuple([envelope * factor * base for base in self.base_learning_rates])
        values = [rule.learning_rate for rule in self._rules]
        if factor != 1.0:
            values = [_explored(rule.parameters, rule.state, factor) for rule in self._rules]
        if self._rules[0].parameters.bounds == "absolute":
            return tuple([envelope * value for value in values])
        if len(values) == 1:
            common = envelope * values[0]
            return tuple([common * base for base in self.base_learning_rates])
        return tuple([envelope * value * base for value, base in zip(values, self.base_learning_rates, strict=True)])

    def observe(self, loss: float | None) -> bool:
        """Take the loss of one evaluation, None lets time pass alone; return whether the rates may differ now.

        A NaN or infinite loss stays out of the mean and makes the decision that ends its interval a non-finite one;
        where such losses are ignored it is as if none had come.
        """
        step = self.step_count + self._stride
        if loss is None or not (step < self._swift_until and -NEVER < loss < NEVER):
            self.advance()
            if loss is not None:
                self.take(float(loss))
            elif self.sweep is not None:
                self._end_sweep_in_time(self.sweep)
            return True
        # What advance() and take() come to on most steps, in one piece: this runs at every step of a training.
        self.step_count = step
        differs = not self._alike_from <= step < self._alike_until
        if differs:
            self._rates = None
        if self._smooth:
            loss = self._window.push(loss)
        if self._interval != 1:
            self.evaluations_since_decision += 1
            if self.evaluations_since_decision < self._interval:
                return differs
            if self.non_finite_since_decision:
                self._end_interval(loss)
                return True
            self.evaluations_since_decision = 0
        self._decided_on = loss
        if self._counts(loss):
            return differs
        self._decide(loss, step <= self.schedule.increase_until)
        return True

    def advance(self) -> None:
        """Let the time of one evaluation pass."""
        self.step_count += self._stride
        if not self._alike_from <= self.step_count < self._alike_until:
            self._rates = None

    def take(self, loss: float) -> None:
        """Take the loss of an evaluation whose time has passed; decides where it ends an interval."""
        if self.sweep is not None:
            self._take_in_sweep(self.sweep, loss)
            return
        schedule = self.schedule
        parameters = schedule.parameters
        if parameters is None or self.step_count > schedule.decide_until:
            return
        if math.isfinite(loss) or parameters.non_finite == "compare":
            if parameters.smooth:
                self._window.push(loss)
        elif parameters.non_finite == "ignore" and self.average is None and self.rollback is None:
            return
        else:
            # Ranks must decide at the same moments, so among several an ignored loss makes its decision void.
            self.non_finite_since_decision = True
        self.evaluations_since_decision += 1
        if self.evaluations_since_decision >= schedule.interval:
            self._end_interval(loss)

    def _end_interval(self, loss: float) -> None:
        if self.non_finite_since_decision:
            loss = math.nan
        elif self._smooth:
            loss = self._window.mean()
        self.evaluations_since_decision, self.non_finite_since_decision = 0, False
        if self.average is not None:
            loss = self.average(loss)
        self._decided_on = loss
        self._decide(loss, self.step_count <= self.schedule.increase_until)

    def _take_in_sweep(self, sweep: SweepState, loss: float) -> None:
        probe, place = self.planned.probe, self.step_count // self._stride - 1
        assert probe is not None  # a sweep has one
        if self.average is not None:
            loss = self.average(loss)
        signed = self._signed(loss)
        self.sweep = sweep = next_sweep(probe, self.planned.sweep_evaluations, sweep, signed, place=place)
        self._end_sweep_in_time(sweep)

    def _end_sweep_in_time(self, sweep: SweepState) -> None:
        """End a sweep that has turned or used up its steps: the rest is a run of its own, from the start it found."""
        probe = self.planned.probe
        assert probe is not None  # a sweep has one
        if not sweep.turned_at and self.step_count < self.planned.sweep_evaluations * self._stride:
            return
        self.start_multiplier = chosen_multiplier(probe, self.planned.sweep_evaluations, sweep)
        self.base_learning_rates = tuple(self.start_multiplier * base for base in self.base_learning_rates)
        self._decided_on = self._signed(sweep.best) if math.isfinite(sweep.best) else math.nan
        self._event = "probe"
        self._begin_rest(self.step_count)

    def _begin_rest(self, swept_steps: int) -> None:
        self.sweep, self.swept_steps, self.step_count = None, swept_steps, 0
        self._follow(self.planned.after_sweep(swept_steps), self.bounds, None)

    def _signed(self, loss: float) -> float:
        """Return the loss, or back again, so that the smaller is the better."""
        parameters = self.planned.parameters
        return -loss if parameters is not None and parameters.mode == "max" else loss

    def take_event(self) -> Event | None:
        """Return what is to be done about the weights, once; None where nothing is."""
        event, self._event = self._event, None
        return event

    def take_decision(self) -> float | None:
        """Return what the rule last decided on, once; None where it has not decided since the last time."""
        loss, self._decided_on = self._decided_on, None
        return loss

    def evaluations_to_decision(self) -> int | None:
        """Return how many more losses the next decision needs; None where there will be none."""
        if self.sweep is not None:
            return 1
        if self.schedule.parameters is None or self.step_count > self.schedule.decide_until:
            return None
        return self.schedule.interval - self.evaluations_since_decision

    def _decide(self, loss: float, may_increase: bool) -> None:
        self._rates = None
        if self.rollback is not None and self._rolls_back(self.rollback, loss):
            return
        if len(self._rules) == 1:
            (rule,) = self._rules
            state = rule.state
            rule.state = after = next_state(rule.parameters, state, loss, may_increase=may_increase)
            if after.resets > state.resets:
                self._window.clear()
            return
        old = [rule.state for rule in self._rules]
        new = [next_state(rule.parameters, rule.state, loss, may_increase=may_increase) for rule in self._rules]
        reset = [after.resets > before.resets for after, before in zip(new, old, strict=True)]
        if all(reset):
            self._window.clear()
        elif any(reset):
            # Groups that have waited long enough wait for the others, so that all go on from the same best.
            new = [
                next_state(replace(rule.parameters, reset_start=None), before, loss, may_increase=may_increase)
                if early
                else after
                for rule, before, after, early in zip(self._rules, old, new, reset, strict=True)
            ]
        for rule, state in zip(self._rules, new, strict=True):
            rule.state = state

    def _rolls_back(self, state: RollbackState, loss: float) -> bool:
        """Return whether this decision is a rollback: window and counters anew, the rate cut and capped."""
        assert self.planned.rollback is not None  # its state has one
        settled = not self._smooth or len(self._window.values) == self._window.window_size
        self.rollback, self._event = next_rollback(self.planned.rollback, state, self._signed(loss), settled=settled)
        if self._event != "rollback":
            return False
        self._window.clear()
        for rule in self._rules:
            rule.state = rolled_back(rule.parameters, rule.state)
        return True

    def add_group(self, learning_rate: float) -> None:
        """Take one more group, which starts at its own rate times what probe and rule have made of the first group's.

        With bounds of groups' own the new one has those of the schedule.
        """
        require_learning_rate(learning_rate)
        parameters = self.schedule.parameters
        learning_rate = self.start_multiplier * learning_rate
        self.base_learning_rates = (*self.base_learning_rates, float(learning_rate))
        self._rates = None
        if parameters is None or (parameters.bounds == "relative" and self.bounds is None):
            return
        first = self._rules[0].state
        start = float(learning_rate) if parameters.bounds == "absolute" else 1.0
        unit = start / first.initial_learning_rate
        moved = min(max(first.learning_rate * unit, parameters.min_lr), parameters.max_lr)
        state = first._replace(learning_rate=moved, initial_learning_rate=start, ceiling=first.ceiling * unit)
        self._rules.append(RunningRule(parameters, state))
        self._prepare()
        if self.bounds is not None:
            self.bounds.append((parameters.min_lr, parameters.max_lr))

    def state_dict(self) -> dict[str, Any]:
        """Return the state as plain builtins; with the schedule it began with."""
        return ControllerState(
            schedule=self.planned,
            bounds=self.bounds,
            exploration=self.exploration,
            base_learning_rates=self.base_learning_rates,
            step_count=self.step_count,
            evaluations_since_decision=self.evaluations_since_decision,
            non_finite_since_decision=self.non_finite_since_decision,
            window=tuple(self._window.values),
            window_total=self._window.total,
            states=self.states,
            sweep=self.sweep,
            swept_steps=self.swept_steps,
            start_multiplier=self.start_multiplier,
            rollback=self.rollback,
        ).to_dict()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a state of `state_dict`, with the schedule it holds, exactly.

        Raises
        ------
        ValueError
            If a key is missing or unknown, a value cannot be, or the state is for another number of groups; nothing has
            changed then.
        """
        self.become(self.twin(state))

    def twin(self, state: Mapping[str, Any]) -> RateController:
        """Return a controller of as many groups that goes on from a state; errors as `load_state_dict`."""
        read = ControllerState.from_dict(state, groups=len(self.base_learning_rates))
        twin = RateController(read.schedule, read.base_learning_rates, bounds=read.bounds, exploration=read.exploration)
        twin.start_multiplier, twin.rollback = read.start_multiplier, read.rollback
        if read.sweep is None and twin.sweep is not None:
            twin._begin_rest(read.swept_steps)
        else:
            twin.sweep = read.sweep
        twin.step_count = read.step_count
        twin.evaluations_since_decision = read.evaluations_since_decision
        twin.non_finite_since_decision = read.non_finite_since_decision
        twin._window = TrailingMean(
            twin._window.window_size, read.window, read.window_total, keeps_errors=twin._window.keeps_errors
        )
        for rule, held in zip(twin._rules, read.states, strict=True):
            rule.state = held
        twin.average_with(self.average)
        return twin

    def become(self, other: RateController) -> None:
        """Go on where the other stands; the other is not to be used any more."""
        vars(self).update(vars(other))


def _never(loss: float) -> bool:
    return False


def _explored(rule: GreedyLRParameters, state: GreedyLRState, factor: float) -> float:
    """Return the rate times the factor, as far as bounds and ceiling allow; a rate beyond them is left where it is."""
    rate = state.learning_rate
    lowest = min(rule.min_lr, rate)
    highest = max(min(rule.max_lr, state.ceiling), rate)
    return min(max(rate * factor, lowest), highest)
