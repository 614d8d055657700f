"""The proof of a preset on a budget: the steps of `models.budget_plan`, one after the other, until none fits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from greedylr.preset import Candidate
from greedylr.schedules import PRIMARY_CONTROL, Schedule
from models.budget_plan import Budget, Looked, Pair, Spending, Standing, Step, StepTaken, steps_worth_taking
from models.cells import Cell, is_decided
from models.common_grid import tuned_on_grid
from models.comparison import INCUMBENT, judged_pair, preset_verdict
from models.contenders import Contender
from models.decisive_seeds import what_it_lacks
from models.fresh_comparison import PRESET, TEST, fresh_seeds
from models.looks import LOOKS
from models.proving import Plan, Proof, true_rivals
from models.regret import RegretScale
from models.results import SAME_RATE, Results, concatenate
from models.retraining.job import Configuration
from models.training_account import Account, Train
from models.tuned_controls import TUNING_POINTS, TUNING_SEEDS, search_seeds
from models.tuning import rate_grid

# What most people would put in its place, and the two of the confirmatory contrasts.
FIRST_CONTROLS = ("linear", "plateau", "greedy_smooth50_anneal")


def first_standing(preset: Candidate, plan: Plan, *, keep_rate: bool, used: Sequence[str] = ()) -> Standing:
    """Return where a proof on a budget begins.

    Parameters
    ----------
    preset, plan
        As for `prove_within_budget`.
    keep_rate
        Whether the preset is compared at its own rate, and not tuned.
    used
        Controls that the group's past runs used, the most frequent first: they are compared before others.
    """
    rivals = true_rivals(plan, preset)
    rival = rivals.pop(INCUMBENT, None)
    own_rate = preset.learning_rate if keep_rate else plan.usual_rate
    if rival is None:
        primary = Pair(PRIMARY_CONTROL, own_rate, plan.usual_rate, "own rate")
    else:
        primary = Pair(INCUMBENT, own_rate, rival.learning_rate, "own rate")
    order = dict.fromkeys((*used, PRIMARY_CONTROL, *FIRST_CONTROLS, *plan.contenders))
    return Standing(
        primary=primary,
        base_rate=plan.usual_rate,
        schedules_to_tune=1 if keep_rate else 2,
        rivals={name: other.learning_rate for name, other in rivals.items()},
        further_controls=[name for name in order if name in plan.contenders and name != primary.control],
        max_seeds=plan.max_seeds,
    )


def prove_within_budget(
    preset: Candidate,
    train: Train,
    plan: Plan,
    budget: Budget,
    *,
    seconds_each: float,
    keep_rate: bool = False,
    used: Sequence[str] = (),
) -> Proof:
    """Put a preset to the proof with what a budget allows.

    Fewer trainings say less: the verdict is often "undecided", and it is one against an untuned control where the
    budget left no tuning. `Proof.budget` says so, what was done and what was left out.

    Parameters
    ----------
    preset, train, plan
        As for `models.proving.prove_preset`; the plan's `max_trainings` is not looked at.
    budget
        What may be spent.
    seconds_each
        Device-seconds that a training is expected to take, until the first ones have shown it.
    keep_rate, used
        As for `first_standing`.

    Raises
    ------
    ValueError
        If the budget does not reach a first look, everything diverges, or training does not beat the untrained
        workload.
    """
    proof = _Proof(
        preset, train, plan, budget, seconds_each, first_standing(preset, plan, keep_rate=keep_rate, used=used)
    )
    first, *_ = steps_worth_taking(proof.standing)
    if not proof.affords(first):
        raise ValueError(
            f"a verdict takes at least {first.trainings} runs, about {first.trainings * seconds_each:,.0f} "
            f"device-seconds here, got a budget of {budget.device_seconds:,.0f}; allow that much"
        )
    left_out: dict[Step, None] = {}
    while worth := [step for step in steps_worth_taking(proof.standing) if step not in left_out]:
        step = worth[0]
        if proof.affords(step):
            proof.take(step)
        else:
            left_out[step] = None
            if step.kind == "tuning":
                proof.standing = replace(proof.standing, tuned=None)
    return proof.concluded(tuple(left_out))


class _Proof:
    """A proof on its way: what was trained, and where it stands."""

    def __init__(
        self,
        preset: Candidate,
        train: Train,
        plan: Plan,
        budget: Budget,
        seconds_each: float,
        standing: Standing,
    ) -> None:
        self._preset = preset
        self._plan = plan
        self._budget = budget
        self._seconds_each = seconds_each
        self._account = Account(train, 0)
        self._taken: list[StepTaken] = []
        self._contenders = {**plan.contenders, PRESET: _untuned(preset.schedule, preset.origin)}
        self._contenders |= {
            name: _untuned(rival.schedule, "the group's own") for name, rival in true_rivals(plan, preset).items()
        }
        # From the rate at which the preset begins: tuning must not change the seeds, which its pairs share.
        begins = Configuration(name=PRESET, schedule=preset.schedule, learning_rate=standing.primary.preset_rate)
        self._seeds = fresh_seeds(begins, plan.attempt, plan.max_seeds)
        self._scale: RegretScale | None = None
        self._naive: float | None = None
        self.standing = standing

    def affords(self, step: Step) -> bool:
        """Say whether the rest of the budget is enough for a step."""
        seconds = self._account.device_seconds + step.trainings * self._seconds_each
        return self._budget.affords(self._account.trainings + step.trainings, seconds)

    def take(self, step: Step) -> None:
        """Train what a step asks for, and look at it."""
        before = self._account.trainings, self._account.device_seconds
        if step.pair is None:
            self._tune(step)
        else:
            self._look(step.pair, step.seeds)
        trainings = self._account.trainings - before[0]
        seconds = self._account.device_seconds - before[1]
        if trainings:
            # The dearest step so far: small batches cost more a training, and a budget is not to be overrun.
            dearest = max((each.device_seconds / each.trainings for each in self._taken if each.trainings), default=0.0)
            self._seconds_each = max(dearest, seconds / trainings)
        self._taken.append(StepTaken(step=step, trainings=trainings, device_seconds=seconds))

    def concluded(self, left_out: tuple[Step, ...]) -> Proof:
        """Return what the evidence allows to say."""
        standing, plan = self.standing, self._plan
        cells = [self._cell(pair) for pair in standing.looked if pair.region != "own rate" or self._stands(pair)]
        tuned = standing.tuned is True or standing.primary.control == INCUMBENT
        verdict = preset_verdict(
            cells,
            workload=plan.workload,
            own_workload=plan.own_workload,
            attempt=plan.attempt,
            device_seconds=self._account.device_seconds,
            control_tuned=tuned,
        )
        return Proof(
            winner=replace(self._preset, learning_rate=standing.primary.preset_rate),
            base_rate=standing.base_rate,
            control_rates={cell.control: cell.control_rate for cell in cells if cell.region == "own rate"},
            scale=self._require_scale(),
            cells=tuple(cells),
            verdict=verdict,
            mean_regrets={},
            race=None,
            results={purpose: concatenate(parts) for purpose, parts in self._account.parts.items()},
            device_seconds=self._account.device_seconds,
            trainings=self._account.trainings,
            spending=Spending(
                budget=self._budget,
                taken=tuple(self._taken),
                left_out=left_out,
                preset_tuned=standing.tuned is True and standing.schedules_to_tune > 1,
                remark=_remark(self._cell(standing.primary), tuned=tuned),
            ),
        )

    def _tune(self, step: Step) -> None:
        standing = self.standing
        names = [PRIMARY_CONTROL, PRESET][: standing.schedules_to_tune]
        self._account.spare = self._left() - step.trainings
        rates, _ = tuned_on_grid(
            self._account,
            "tuning",
            {name: self._contenders[name] for name in names},
            rate_grid(standing.base_rate, TUNING_POINTS),
            search_seeds(self._plan.group)[:TUNING_SEEDS],
        )
        primary = standing.primary
        primary = replace(primary, preset_rate=rates.get(PRESET, primary.preset_rate))
        if primary.control == PRIMARY_CONTROL:
            primary = replace(primary, control_rate=rates[PRIMARY_CONTROL])
        self._scale = self._scale_of(concatenate(self._account.parts["tuning"]))
        self.standing = replace(standing, tuned=True, primary=primary, base_rate=rates[PRIMARY_CONTROL])
        if primary not in standing.looked:
            self._look(primary, LOOKS[0])

    def _look(self, pair: Pair, seeds: int) -> None:
        wanted: dict[int, list[Configuration]] = {}
        for name, rate in ((PRESET, pair.preset_rate), (pair.control, pair.control_rate)):
            configuration = self._contenders[name].configuration(name, rate)
            wanted.setdefault(self._seeds_of(name, rate), []).append(configuration)
        for there, configurations in wanted.items():
            if there < seeds:
                made = self._account(TEST, configurations, self._seeds[there:seeds])
                self._naive = self._naive if self._naive is not None else made.naive_loss
        if self._scale is None:
            self._scale = self._scale_of(self._tests)
        looked = Looked(seeds, decided=is_decided(self._cell(pair)))
        self.standing = replace(self.standing, looked={**self.standing.looked, pair: looked})

    def _cell(self, pair: Pair) -> Cell:
        return judged_pair(
            self._tests,
            (PRESET, pair.preset_rate),
            (pair.control, pair.control_rate),
            region=pair.region,
            scale=self._require_scale(),
        )

    @property
    def _tests(self) -> Results:
        return concatenate(self._account.parts[TEST])

    def _seeds_of(self, name: str, rate: float) -> int:
        """Return with how many test seeds a schedule was trained at a rate."""
        if TEST not in self._account.parts:
            return 0
        tests = self._tests
        return int(np.sum((tests.schedule == name) & np.isclose(tests.starting_rate, rate, rtol=SAME_RATE, atol=0)))

    def _stands(self, pair: Pair) -> bool:
        """Say whether a pair at own rates is one still: tuning gives the primary control and the preset others."""
        return pair.control != self.standing.primary.control or pair == self.standing.primary

    def _left(self) -> int:
        """Return how many more trainings the budget has."""
        left = []
        if self._budget.trainings is not None:
            left.append(self._budget.trainings - self._account.trainings)
        if self._budget.device_seconds is not None:
            seconds = self._budget.device_seconds - self._account.device_seconds
            left.append(int(seconds / self._seconds_each) if self._seconds_each else self._account.trainings)
        return min(left)

    def _scale_of(self, results: Results) -> RegretScale:
        """Return a scale whose reference is the best mean loss among some trainings.

        A budget leaves no reference seeds. The reference enters a difference of regrets only by the scale's length, so
        that it moves what counts as the margin a little, and never the sign of a difference.
        """
        results = results.without_failed_seeds()
        losses = results.reporting_loss
        lost = results.has_diverged(losses)
        rows = [results.rows(name, rate) for name in results.schedules() for rate in results.rates(name)]
        means = [float(losses[each].mean()) for each in rows if not lost[each].any()]
        means = means or [float(losses[each][~lost[each]].mean()) for each in rows if not lost[each].all()]
        if not means or self._naive is None:
            raise ValueError(
                "a proof needs trainings that survive, but all of preset and control diverged at "
                f"{results.starting_rate.min():.3g} to {results.starting_rate.max():.3g}; lower the "
                "usual_learning_rate of the workload, or the learning_rate in the group's settings"
            )
        return RegretScale(reference=min(means), naive=self._naive)

    def _require_scale(self) -> RegretScale:
        assert self._scale is not None  # made at the first look, which every proof begins with
        return self._scale


def _untuned(schedule: Schedule, source: str) -> Contender:
    return Contender(schedule=schedule, source=source, settings="as it is")


def _remark(cell: Cell, *, tuned: bool) -> str:
    """Return in words what a verdict lacks; empty where it lacks nothing."""
    untuned = "" if tuned else f"{cell.control} ran at the usual rate {cell.control_rate:.3g}, which was not tuned"
    return "; ".join(each for each in (untuned, what_it_lacks(cell)) if each)
