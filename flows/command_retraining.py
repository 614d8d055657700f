"""Retraining by a user's command: every configuration with every seed, each a process of its own."""

from __future__ import annotations

import logging
import threading
from collections.abc import Collection, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, replace

import numpy as np
import polars as pl
from numpy.typing import NDArray

import greedylr
from features.series_names import named_roles
from flows.road import Road
from greedylr.preset import Preset, Provenance
from greedylr.schedule_files import NamedControl
from greedylr.schedules import NAMED_CONTROLS, PRIMARY_CONTROL
from models.results import SAME_RATE, Results
from models.retraining.job import Configuration
from models.seeds import derive_seeds
from models.training_account import Trainings
from pipeline.command_check import repetition_remark, require_contract
from pipeline.command_runs import CommandRun, CommandRunner, Wanted
from pipeline.command_store import CommandStore
from pipeline.logged_losses import LoggedLoss
from pipeline.training_command import TrainingCommand, names_steps

logger = logging.getLogger(__name__)

CURVE_POINTS = 40

Floats = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class _Row:
    purpose: str
    configuration: Configuration
    seed: int
    run: CommandRun


class CommandRetraining:
    """Trains configurations by a group's command, a few runs at a time; what was trained before is read.

    Parameters
    ----------
    road
        Whose data folder holds runs and, unless the settings name a server, the store that they log to.
    group
        Named in the progress and in the settings.
    command, code
        What is run, with the steps of the settings, and the hash of what it is made of.

    Raises
    ------
    ValueError
        If the settings give steps and the command takes none.
    CommandStoreError
        If the store refuses, or does not answer.
    """

    def __init__(self, road: Road, group: str, command: TrainingCommand, code: str) -> None:
        settings = road.settings.group(group)
        if settings.steps is not None and not names_steps(command.template):
            raise ValueError(f"a command must have {{steps}} in it to be given some, got {command.template!r}; add it")
        command = replace(command, steps=settings.steps)
        self._road = road
        self._group = group
        self._command = command
        self._parallel = settings.parallel
        self._runner = CommandRunner(
            command=command,
            code=code,
            root=road.root.resolve(),
            folder=road.data / "jobs" / group,
            store=CommandStore(
                road.settings.command_store, f"greedylr-{group}", road.data / "artifacts" / f"greedylr-{group}"
            ),
            timeout_s=60 * settings.timeout_minutes,
            rate_series=_rate_series,
        )
        self._done: dict[str, CommandRun] = {}
        self._rows: list[_Row] = []
        if remark := self._runner.tried_remark():
            self._warn(remark)

    def __call__(self, purpose: str, configurations: Sequence[Configuration], seeds: Sequence[int]) -> Trainings:
        """Train every configuration with every seed; a command that is new is tried before.

        The loss before training is the mean of the values logged first, for a command says it in no other way.

        Raises
        ------
        ValueError
            If a configuration cannot be written as a schedule's file.
        CommandFailedError
            If the command does not keep its contract.
        CommandStoreError, SourceUnreadableError
            If the store refuses, or cannot be read.
        """
        asked = [
            (each, seed, Wanted(schedule=_schedule_file(each), learning_rate=each.learning_rate, seed=seed))
            for each in configurations
            for seed in seeds
        ]
        before = set(self._done)
        untried = asked and self._runner.tried_remark() is None
        seconds = self._try(asked[len(asked) // 2][2]) if untried else 0.0
        self._train(purpose, [wanted for _, _, wanted in asked])
        rows = [
            _Row(purpose=purpose, configuration=each, seed=seed, run=self._done[self._runner.key(wanted)])
            for each, seed, wanted in asked
        ]
        self._rows += rows
        firsts = [row.run.reporting.first for row in rows if row.run.reporting is not None]
        finite = [first for first in firsts if first is not None]
        return Trainings(
            results=_results(rows),
            naive_loss=float(np.mean(finite)) if finite else float("nan"),
            # A run that serves two purposes is paid once.
            device_seconds=seconds + sum(run.seconds for key, run in self._done.items() if key not in before),
        )

    def curves(self, purpose: str, name: str, learning_rate: float) -> tuple[Floats, Floats, Floats]:
        """Return steps (n_points,), losses and rates (n_seeds, n_points), read between the points that were logged.

        Raises
        ------
        ValueError
            If it was not trained.
        """
        found = [
            row.run
            for row in self._rows
            if row.purpose == purpose
            and row.configuration.name == name
            and np.isclose(row.configuration.learning_rate, learning_rate, rtol=SAME_RATE, atol=0)
        ]
        if not found:
            raise ValueError(f"{name!r} must have been trained for the {purpose} at {learning_rate:g} to be drawn")
        last = max((run.selection.steps[-1] for run in found if run.selection is not None), default=0)
        steps = np.linspace(0.0, max(last, 1), CURVE_POINTS)
        losses, rates = (np.array([_between(series, steps) for series in each]) for each in _series_of(found))
        return steps, losses, rates

    def seconds_each(self, learning_rate: float) -> float:
        """Return what a run takes: the mean of those that were made; where there are none, that of a trial at a rate.

        Errors are those of a call.
        """
        if (known := self._runner.mean_seconds()) is not None:
            return known
        (seed,) = derive_seeds("search", self._group, count=1)
        cosine = NamedControl(control=PRIMARY_CONTROL, learning_rate=learning_rate)
        return self._try(Wanted(schedule=cosine, learning_rate=learning_rate, seed=seed))

    def _try(self, wanted: Wanted) -> float:
        """Run the command twice with one seed, and return what the repetition cost."""
        self._train("first look at the command", [wanted])
        run = self._done[self._runner.key(wanted)]
        require_contract(self._command, run)
        again = self._runner.run(
            Wanted(schedule=wanted.schedule, learning_rate=wanted.learning_rate, seed=wanted.seed, repetition=1)
        )
        remark = repetition_remark(self._command, run, again)
        self._runner.keep_trial(remark)
        if remark:
            self._warn(remark)
        return again.seconds

    def _train(self, purpose: str, asked: Sequence[Wanted]) -> None:
        """Run what was not run yet; an interrupted caller leaves no process behind."""
        missing = {key: wanted for wanted in asked if (key := self._runner.key(wanted)) not in self._done}
        stop = threading.Event()
        with ThreadPoolExecutor(self._parallel) as threads:
            runs = {threads.submit(self._runner.run, wanted, stop.is_set): key for key, wanted in missing.items()}
            try:
                for count, run in enumerate(as_completed(runs), start=1):
                    self._take(missing[runs[run]], runs[run], run.result())
                    self._road.report(f"{self._group}: {purpose}", count, len(missing))
            except BaseException:
                stop.set()
                threads.shutdown(cancel_futures=True)
                raise

    def _take(self, wanted: Wanted, key: str, run: CommandRun) -> None:
        reasons = {other.failure for other in self._done.values()}
        self._done[key] = run
        # One that fails always for the same reason says it once.
        if run.failure and run.failure not in reasons:
            self._warn(f"{self._command.shown()} {run.failure} ({wanted.name})")

    def _warn(self, remark: str) -> None:
        logger.warning("group %s: %s", self._group, remark)


def _schedule_file(configuration: Configuration) -> Preset | NamedControl:
    """Return what a configuration's file holds; ValueError if none can."""
    if configuration.method != "schedule":
        raise ValueError(
            f"a command can be given schedules only, got {configuration.name!r}, which is the method "
            f"{configuration.method!r}; leave it out"
        )
    control = next((name for name, schedule in NAMED_CONTROLS.items() if schedule == configuration.schedule), None)
    if control is not None:
        return NamedControl(control=control, learning_rate=configuration.learning_rate)
    if configuration.schedule.rule is None:
        raise ValueError(
            f"a command can be given presets and named controls, got {configuration.name!r}, which has neither a rule "
            "nor a control's name; leave it out"
        )
    return Preset(
        name=configuration.name,
        schedule=configuration.schedule,
        learning_rate=configuration.learning_rate,
        provenance=Provenance(origin="retraining", greedylr_version=greedylr.__version__),
    )


def _results(rows: Sequence[_Row]) -> Results:
    def last(loss: LoggedLoss | None) -> float:
        return float("nan") if loss is None or loss.last is None else loss.last

    return Results(
        schedule=np.array([row.configuration.name for row in rows]),
        starting_rate=np.array([row.configuration.learning_rate for row in rows]),
        seed=np.array([row.seed for row in rows]),
        selection_loss=np.array([last(row.run.selection) for row in rows]),
        reporting_loss=np.array([last(row.run.reporting) for row in rows]),
        diverged=np.array([row.run.diverged_step is not None for row in rows]),
        failed=np.array([bool(row.run.failure) for row in rows]),
    )


def _series_of(runs: Sequence[CommandRun]) -> tuple[list[LoggedLoss | None], list[LoggedLoss | None]]:
    return [run.selection for run in runs], [run.rates for run in runs]


def _between(series: LoggedLoss | None, steps: Floats) -> Floats:
    """Return a series at some steps; NaN where it is not known, or is not finite any more."""
    known = (
        []
        if series is None
        else [pair for pair in zip(series.steps, series.losses, strict=True) if pair[1] is not None]
    )
    if not known:
        return np.full(steps.shape, np.nan)
    places, values = (np.array(each, dtype=np.float64) for each in zip(*known, strict=True))
    return np.interp(steps, places, values, left=np.nan, right=np.nan)


def _rate_series(names: Collection[str]) -> str | None:
    """Return the series among some that is named most like a learning rate."""
    roles = named_roles(pl.Series(sorted(names), dtype=pl.String))
    rates = roles.filter(pl.col("role") == "learning_rate").sort("rank", "key")
    return str(rates["key"][0]) if len(rates) else None
