"""The proof of one preset on one workload: what `greedylr validate` does."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from flows.group_settings import with_steps
from flows.group_workload import GroupWorkload
from flows.past_use import PastUse
from flows.retraining import Retrainer
from flows.road import Road
from flows.training_cost import TrainingCost, training_cost
from greedylr.preset import Candidate, Preset
from greedylr.schedules import PRIMARY_CONTROL
from models.budget_plan import Budget, PlannedStep, expected_steps
from models.budget_share import BudgetShare, budget_share, expected_share
from models.budgeted_proof import first_standing, prove_within_budget
from models.comparison import INCUMBENT, primary_cell
from models.contenders import Contender
from models.decisive_seeds import what_it_lacks
from models.fresh_comparison import PRESET, Rival
from models.pooled import WorkloadCells
from models.proving import Plan, Proof, expected_trainings, prove_preset
from models.retraining.job import Configuration
from models.training_account import Train
from models.workloads.reference import REFERENCES


@dataclass(frozen=True, kw_only=True)
class Means:
    """By what means a preset is validated.

    Parameters
    ----------
    contenders
        What it is compared with.
    max_seeds
        The last look.
    max_trainings
        Of one workload, where there is no budget.
    budget
        What may be spent on one workload; None for the full procedure.
    with_budget_share
        Whether the budget share is measured as well.
    """

    contenders: Mapping[str, Contender]
    max_seeds: Literal[5, 10, 20]
    max_trainings: int
    budget: Budget | None = None
    with_budget_share: bool = False

    def __post_init__(self) -> None:
        if self.budget is not None and self.with_budget_share:
            raise ValueError(
                "a budget share is measured against tuned cosine, which takes the full procedure, got a budget too; "
                "leave one of the two out"
            )


@dataclass(frozen=True, kw_only=True)
class Validation:
    """A preset to be validated on a workload.

    Parameters
    ----------
    road, group
        Where it is trained, and the group whose settings are the workload's; seeds are derived from its name.
    workload, preset
        What is retrained, and what is proved.
    past
        What the group's runs used; nothing where the workload is no group's.
    attempt
        How often the preset was put to the proof on the workload, this time included.
    folder
        Of its attempts.
    means
        By which it is validated.
    """

    road: Road
    group: str
    workload: GroupWorkload
    preset: Preset
    past: PastUse
    attempt: int
    folder: Path
    means: Means

    @property
    def keeps_rate(self) -> bool:
        """Whether the preset is compared at the rate it recommends: a group's preset on the group's own training."""
        return self.past.is_group and self.preset.learning_rate is not None


@dataclass(frozen=True, kw_only=True)
class Expected:
    """What a validation is expected to take.

    Parameters
    ----------
    first_look, most
        Trainings up to the first look, and if nothing is decided before the last, a budget share's with them; of a
        budget the same number, which is that of the steps within it.
    cost
        Of one training.
    steps
        Of a proof on a budget.
    """

    first_look: int
    most: int
    cost: TrainingCost
    steps: tuple[PlannedStep, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Validated:
    """What a validation gave."""

    validation: Validation
    proof: Proof
    family: str
    pooled: bool
    share: BudgetShare | None = None

    @property
    def remark(self) -> str:
        """What the verdict lacks, in words; empty where it lacks nothing."""
        spending = self.proof.spending
        return what_it_lacks(primary_cell(self.proof.cells)) if spending is None else spending.remark

    @property
    def cells(self) -> WorkloadCells:
        """The cells, as figures over workloads take them."""
        return WorkloadCells(
            workload=self.validation.workload.name, family=self.family, pooled=self.pooled, cells=self.proof.cells
        )


def expected(validation: Validation, cost: TrainingCost | None = None) -> Expected:
    """Say what a validation will take.

    Parameters
    ----------
    validation
        What is validated.
    cost
        Of a training; None: it is that of earlier jobs, and where there are none, a short look trains.

    Raises
    ------
    ValueError
        If the budget does not reach a first verdict.
    """
    means = validation.means
    _require_length(validation)
    plan = _plan(validation)
    cost = cost or training_cost(validation.road, validation.group, validation.workload, plan.usual_rate)
    if means.budget is not None:
        standing = first_standing(
            _candidate(validation, plan), plan, keep_rate=validation.keeps_rate, used=validation.past.controls
        )
        steps = tuple(expected_steps(standing, means.budget, cost.device_seconds))
        within = sum(each.step.trainings for each in steps if each.within)
        return Expected(first_look=within, most=within, cost=cost, steps=steps)
    first_look, most = expected_trainings(
        rivals=len(plan.rivals),
        max_seeds=means.max_seeds,
        contenders=len(plan.contenders),
        raced=False,
        tuned=not validation.keeps_rate,
    )
    if means.max_trainings < first_look:
        raise ValueError(
            f"budget.max_replicas must be at least the {first_look} trainings up to a first verdict, got "
            f"{means.max_trainings}; raise it, name fewer controls with --against, or give a budget with --max-runs"
        )
    most = min(most, means.max_trainings)
    if means.with_budget_share:
        least_share, most_share = expected_share(means.max_seeds)
        first_look, most = first_look + least_share, most + most_share
    return Expected(first_look=first_look, most=most, cost=cost)


def validate(validation: Validation, seconds_each: float) -> Validated:
    """Train and judge; jobs that were finished before are not trained again.

    Parameters
    ----------
    validation
        What is validated.
    seconds_each
        Device-seconds that a training is expected to take.

    Raises
    ------
    ValueError, WorkloadFailedError
        If the workload cannot be trained, or the budget does not reach a first verdict.
    """
    plan, means, group = _plan(validation), validation.means, validation.group
    train = Retrainer(validation.road, group, validation.workload)
    candidate = _candidate(validation, plan)
    if means.budget is None:
        proof = prove_preset(candidate, train, plan, keep_rate=validation.keeps_rate)
    else:
        proof = prove_within_budget(
            candidate,
            train,
            plan,
            means.budget,
            seconds_each=seconds_each,
            keep_rate=validation.keeps_rate,
            used=validation.past.controls,
        )
    return Validated(
        validation=validation,
        proof=replace(proof, verdict=replace(proof.verdict, selection=validation.workload.selection)),
        family=train.family,
        pooled=validation.workload.users or REFERENCES[validation.workload.name].pooled,
        share=_share(validation, plan, proof, train) if means.with_budget_share else None,
    )


def _require_length(validation: Validation) -> None:
    """Raise ValueError where a budget share is asked for of a command that cannot be told its length."""
    command = validation.workload.command
    if validation.means.with_budget_share and command is not None and command.steps is None:
        raise ValueError(
            f"a budget share takes shorter runs of a command, got {validation.workload.name!r}, which is not told how "
            f"long to run; write {{steps}} into it, and give groups.{validation.group}.steps"
        )


def _plan(validation: Validation) -> Plan:
    settings = validation.road.settings.group(validation.group)
    rate = settings.learning_rate or validation.past.usual_rate
    if rate is None:
        rate = Retrainer(validation.road, validation.group, validation.workload).usual_rate()
    incumbent = validation.past.incumbent
    rivals = {}
    if incumbent is not None:
        rivals[INCUMBENT] = Rival(schedule=incumbent.schedule, learning_rate=incumbent.learning_rate)
    return Plan(
        group=validation.group,
        workload=validation.workload.name,
        own_workload=validation.past.is_group or validation.workload.users,
        attempt=validation.attempt,
        usual_rate=rate,
        rivals=rivals,
        contenders=validation.means.contenders,
        max_seeds=validation.means.max_seeds,
        max_trainings=validation.means.max_trainings,
    )


def _candidate(validation: Validation, plan: Plan) -> Candidate:
    preset = validation.preset
    rate = preset.learning_rate if validation.keeps_rate and preset.learning_rate is not None else plan.usual_rate
    return Candidate(name=PRESET, schedule=preset.schedule, learning_rate=rate, origin=preset.provenance.origin)


def _share(validation: Validation, plan: Plan, proof: Proof, train: Retrainer) -> BudgetShare:
    road, group = validation.road, validation.group
    full = road.settings.group(group).steps or train.look().descriptors.total_steps

    def train_at(share: float) -> Train:
        return Retrainer(with_steps(road, group, round(share * full)), group, validation.workload)

    control = plan.contenders[PRIMARY_CONTROL].configuration(PRIMARY_CONTROL, proof.control_rates[PRIMARY_CONTROL])
    preset = Configuration(name=PRESET, schedule=proof.winner.schedule, learning_rate=proof.winner.learning_rate)
    return budget_share(train_at, preset, control, proof.scale, attempt=plan.attempt, max_seeds=plan.max_seeds)
