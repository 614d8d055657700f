"""Trainings by a user's command, each in its own process and its own MLflow run, and each kept once it is done."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from greedylr.preset import Preset
from greedylr.schedule_files import NamedControl, write_schedule
from greedylr.strict_json import decode, encode, parse
from pipeline.command_process import Ended, run_process
from pipeline.command_store import CommandStore, RunStatus
from pipeline.errors import CommandFailedError
from pipeline.logged_losses import LoggedLoss, logged_loss
from pipeline.training_command import TrainingCommand

# Part of where runs are kept: to be raised when the same run would be judged otherwise, or be kept in another form.
COMMAND_VERSION = 1

SCHEDULE_FILE, LOG_FILE, RUN_FILE, TRIAL_FILE = "schedule.json", "output.log", "run.json", "tried.txt"


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """What is to be trained.

    Parameters
    ----------
    schedule
        What its file holds, with the rate that it starts from.
    learning_rate
        > 0, that rate.
    seed
        Runs of one seed are a pair.
    repetition
        0; 1 is the same run once more, to see whether the seed decides everything.
    """

    schedule: Preset | NamedControl
    learning_rate: float
    seed: int
    repetition: int = 0

    @property
    def name(self) -> str:
        """Of its run, for people."""
        schedule = self.schedule.name if isinstance(self.schedule, Preset) else self.schedule.control
        return f"{schedule} at {self.learning_rate:.3g}, seed {self.seed}"


@dataclass(frozen=True, kw_only=True)
class CommandRun:
    """What became of a run.

    Parameters
    ----------
    run_id
        Of its MLflow run.
    seconds
        How long the command ran.
    failure
        Why it gave no result; "" where it gave one, a divergence among them.
    selection, reporting
        Its two losses, the same where the command has but one; None where it failed.
    rates
        Learning rates that it logged; None where there are none.
    """

    run_id: str
    seconds: float
    failure: str = ""
    selection: LoggedLoss | None = None
    reporting: LoggedLoss | None = None
    rates: LoggedLoss | None = None

    @property
    def diverged_step(self) -> int | None:
        """The first step from which on a loss was not finite; None where both are at the end, or it failed."""
        steps = [loss.diverged_step for loss in (self.selection, self.reporting) if loss is not None]
        return min((step for step in steps if step is not None), default=None)


@dataclass(frozen=True, kw_only=True)
class CommandRunner:
    """Runs a command, or tells what a run of before has given.

    Parameters
    ----------
    command
        What is run.
    code
        Hash of what the command is made of: another one is another training.
    root
        The folder that it runs in.
    folder
        Where its runs are kept, and those of others.
    store
        What it logs to.
    timeout_s
        > 0, the limit of one run.
    rate_series
        Which of some series is the learning rate; None where none is.
    """

    command: TrainingCommand
    code: str
    root: Path
    folder: Path
    store: CommandStore
    timeout_s: float
    rate_series: Callable[[Collection[str]], str | None]

    def run(self, wanted: Wanted, stopped: Callable[[], bool] = lambda: False) -> CommandRun:
        """Return the run, from its folder where it was done before; what failed before is tried again.

        Raises
        ------
        CommandStoreError, SourceUnreadableError
            If the store refuses, or cannot be read.
        CommandFailedError
            If the run's folder cannot be written.
        InterruptedError
            If it was given up because of `stopped`.
        """
        folder = self._runs / self.key(wanted)
        kept = kept_run(folder)
        if kept is not None and not kept.failure:
            return kept
        with _keeping(folder):
            folder.mkdir(parents=True, exist_ok=True)
            write_schedule(folder / SCHEDULE_FILE, wanted.schedule)
        run = self._made(wanted, folder, stopped)
        with _keeping(folder):
            _write(folder / RUN_FILE, json.dumps(encode(run), allow_nan=False))
        return run

    def key(self, wanted: Wanted) -> str:
        """Return the name of a run of the command: of all that its result depends on."""
        schedule = wanted.schedule.schedule if isinstance(wanted.schedule, Preset) else wanted.schedule.control
        return _hash(encode(schedule), wanted.learning_rate, wanted.seed, wanted.repetition)

    def mean_seconds(self) -> float | None:
        """Return how long the runs took that have given a result; None where there are none."""
        kept = (kept_run(path.parent) for path in self._runs.glob(f"*/{RUN_FILE}"))
        seconds = [run.seconds for run in kept if run is not None and not run.failure]
        return sum(seconds) / len(seconds) if seconds else None

    def tried_remark(self) -> str | None:
        """Return what a trial of the command has given to say; None where it was not tried yet."""
        path = self._runs / TRIAL_FILE
        return path.read_text(encoding="utf-8") if path.is_file() else None

    def keep_trial(self, remark: str) -> None:
        """Keep that the command was tried, and what there is to say; errors as `run`."""
        with _keeping(self._runs):
            _write(self._runs / TRIAL_FILE, remark)

    @property
    def _runs(self) -> Path:
        """Where the runs of this very command are."""
        return (self.folder / _hash(COMMAND_VERSION, encode(self.command), self.code)).absolute()

    def _made(self, wanted: Wanted, folder: Path, stopped: Callable[[], bool]) -> CommandRun:
        run_id = self.store.begin(
            wanted.name, {"greedylr.seed": str(wanted.seed), "greedylr.learning_rate": repr(wanted.learning_rate)}
        )
        status: RunStatus = "KILLED"
        try:
            run = self._observed(wanted, folder, run_id, stopped)
            status = "FAILED" if run.failure else "FINISHED"
        finally:
            self.store.end(run_id, status)
        return run

    def _observed(self, wanted: Wanted, folder: Path, run_id: str, stopped: Callable[[], bool]) -> CommandRun:
        arguments = self.command.arguments(
            seed=wanted.seed, learning_rate=wanted.learning_rate, schedule=folder / SCHEDULE_FILE
        )
        # One that the user's shell has set would name another experiment than the run's.
        inherited = {name: value for name, value in os.environ.items() if name != "MLFLOW_EXPERIMENT_ID"}
        try:
            ended = run_process(
                arguments,
                folder=self.root,
                environment={**inherited, **self.store.environment(run_id)},
                log=folder / LOG_FILE,
                timeout_s=self.timeout_s,
                stopped=stopped,
            )
        except InterruptedError:
            raise
        except OSError as error:
            return CommandRun(run_id=run_id, seconds=0.0, failure=_not_run(arguments[0], error))
        return self._read(run_id, ended)

    def _read(self, run_id: str, ended: Ended) -> CommandRun:
        names = self.store.series(run_id)
        rate = self.rate_series(names)
        wanted = {self.command.metric, self.command.reported, *([rate] if rate else [])}
        points = self.store.points(run_id, wanted & set(names))
        losses = {name: logged_loss(points[name], self.command.mode) for name in points if name != rate}
        selection, reporting = losses.get(self.command.metric), losses.get(self.command.reported)
        run = CommandRun(
            run_id=run_id,
            seconds=ended.seconds,
            selection=selection,
            reporting=reporting,
            rates=logged_loss(points[rate]) if rate and points.get(rate) else None,
        )
        # A training that stops itself at its first NaN has diverged, whatever status it ends with.
        if run.diverged_step is not None:
            return run
        failure = _failure(ended, self.timeout_s) or _lack(self.command, names)
        return CommandRun(run_id=run_id, seconds=ended.seconds, failure=failure) if failure else run


def kept_run(folder: Path) -> CommandRun | None:
    """Return what a folder holds of a run; None where it holds none.

    Raises
    ------
    ValueError
        If the file is none of ours, with the path of the field at fault.
    """
    path = folder / RUN_FILE
    if not path.is_file():
        return None
    return decode(CommandRun, parse(path.read_text(encoding="utf-8")), str(path))


def _hash(*content: object) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:24]


def _write(path: Path, text: str) -> None:
    partial = path.with_name(f"{path.name}.partial")
    partial.write_text(text, encoding="utf-8")
    partial.replace(path)


@contextmanager
def _keeping(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise CommandFailedError(
            f"{folder} must be writable, got {error.strerror}; see to that and begin again: what is finished is kept"
        ) from error


def _not_run(program: str, error: OSError) -> str:
    if isinstance(error, FileNotFoundError):
        return f"{program!r} is not found; name a program on PATH, or its whole path"
    # Either the program cannot be begun, or its output has no room.
    return f"{program!r} could not be run to its end: {error.strerror} ({error.filename})"


def _failure(ended: Ended, timeout_s: float) -> str:
    if ended.status is None:
        how = (
            f"was to be done within {timeout_s:g} s and was killed after that; allow it more with timeout_minutes, or "
            "give it fewer steps"
        )
    elif ended.status < 0:
        how = f"was killed by signal {-ended.status}"
    elif ended.status > 0:
        how = f"ended with exit status {ended.status}"
    else:
        return ""
    return "\n  ".join([f"{how}; its last output:", *ended.last_lines]) if ended.last_lines else how


def _lack(command: TrainingCommand, names: Collection[str]) -> str:
    lacking = [repr(name) for name in dict.fromkeys((command.metric, command.reported)) if name not in names]
    if not lacking:
        return ""
    if not names:
        return (
            f"logged nothing into the run that it was given, and was to log {' and '.join(lacking)}; let "
            "mlflow.start_run take the run of MLFLOW_RUN_ID, and set neither tracking address nor experiment"
        )
    return f"logged no series {' or '.join(lacking)}; there are {', '.join(names)}"
