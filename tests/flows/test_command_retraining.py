"""A group's command behind the interface of every retraining: real processes, one for each configuration and seed."""

import logging
import os
import shutil
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from parabola_command import ROOT, TRAINING

from flows.group_workload import named_workload
from flows.retraining import Retrainer
from flows.road import Road
from greedylr.lookup import load_preset
from greedylr.schedules import CONTROLS, Envelope, Schedule
from models.retraining.job import Configuration
from pipeline.errors import CommandFailedError
from pipeline.settings import load_settings
from pipeline.training_command import TrainingCommand

GROUP = "parabola-sgd"
SEEDS = (3, 4)
COSINE = Configuration(name="cosine", schedule=CONTROLS["cosine"], learning_rate=0.1)
PRESET = Configuration(name="preset", schedule=load_preset("robust").schedule, learning_rate=0.1)

MakeRoad = Callable[..., Road]


@pytest.fixture
def road(tmp_path: Path, mlflow_store_template: Path, monkeypatch: pytest.MonkeyPatch) -> MakeRoad:
    """A function that makes the road of a repository with a command, or changes its settings."""
    monkeypatch.setenv("PYTHONPATH", str(ROOT))

    def make(*, options: str = "", **changes: str | int) -> Road:
        root = tmp_path / "repository"
        keys = {"metric": "val_loss", "report_metric": "test_loss", **changes}
        lines = [
            f"{name} = {value if isinstance(value, int) else repr(value)}" for name, value in keys.items() if value
        ]
        command = f"{sys.executable} train.py {{seed}} {{learning_rate}} {{schedule}} {options}"
        (root / "data").mkdir(parents=True, exist_ok=True)
        (root / "train.py").write_text(TRAINING)
        (root / "greedylr.toml").write_text(f'[groups.{GROUP}]\ncommand = "{command}"\n' + "\n".join(lines))
        if not (root / "data" / "command_runs.db").exists():
            shutil.copyfile(mlflow_store_template, root / "data" / "command_runs.db")
        return Road(settings=load_settings(root / "greedylr.toml"), root=root)

    return make


def retrainer(road: Road) -> Retrainer:
    workload = named_workload(road, GROUP)
    assert workload is not None
    return Retrainer(road, GROUP, workload)


def ran(road: Road) -> list[int]:
    """The seeds of all runs so far."""
    return [int(line) for line in (road.root / "ran").read_text().split()]


def test_every_configuration_is_trained_with_every_seed_and_read_back(road: MakeRoad) -> None:
    train = retrainer(road())
    made = train("test", [COSINE, PRESET], SEEDS)
    results = made.results
    assert results.schedule.tolist() == ["cosine", "cosine", "preset", "preset"]
    assert results.seed.tolist() == [3, 4, 3, 4]
    # The reporting loss lies 0.1 above the selection loss.
    np.testing.assert_allclose(results.reporting_loss, results.selection_loss + 0.1)
    assert np.all(results.reporting_loss < 0.5)
    assert not results.diverged.any()
    # The preset has raised the rate: another schedule, another loss.
    assert not np.isclose(results.reporting_loss[:2], results.reporting_loss[2:]).any()
    # One weight of 1.5 to 2.5 a seed, before any step.
    assert 1.5**2 + 0.2 < made.naive_loss < 2.5**2 + 0.2
    assert made.device_seconds > 0


def test_pairs_share_what_the_seed_decides(road: MakeRoad) -> None:
    train = retrainer(road())
    train("test", [COSINE, PRESET], SEEDS)
    (_, cosine, _), (_, preset, _) = (train.curves("test", each.name, 0.1) for each in (COSINE, PRESET))
    assert cosine[:, 0].tolist() == preset[:, 0].tolist()
    assert cosine[0, 0] != cosine[1, 0]


def test_curves_are_read_between_the_points_that_were_logged(road: MakeRoad) -> None:
    train = retrainer(road())
    train("test", [COSINE], SEEDS)
    steps, losses, rates = train.curves("test", "cosine", 0.1)
    assert (steps[0], steps[-1]) == (0.0, 60.0)
    assert losses.shape == rates.shape == (2, len(steps))
    assert np.isfinite(losses).all()
    assert rates.max() == pytest.approx(0.1, rel=0.1)
    with pytest.raises(ValueError, match=r"'linear' must have been trained for the test at 0\.1 to be drawn"):
        train.curves("test", "linear", 0.1)


def test_a_run_that_was_made_is_not_made_again(road: MakeRoad) -> None:
    here = road()
    first = retrainer(here)("test", [COSINE], SEEDS)
    assert sorted(ran(here)) == [3, 4, 4]  # one of them twice, to see whether the seed decides everything
    second = retrainer(here)("race", [COSINE, PRESET], SEEDS)
    assert sorted(ran(here)) == [3, 3, 4, 4, 4]
    assert second.results.reporting_loss[:2].tolist() == first.results.reporting_loss.tolist()


def test_a_run_that_serves_two_purposes_is_paid_once(road: MakeRoad) -> None:
    train = retrainer(road())
    assert train("tuning", [COSINE], SEEDS).device_seconds > 0
    again = train("test", [COSINE], SEEDS)
    assert again.device_seconds == 0
    assert len(again.results) == 2


def test_runs_side_by_side_give_what_they_give_one_by_one(road: MakeRoad) -> None:
    one_by_one = retrainer(road())("test", [COSINE, PRESET], SEEDS).results
    here = road(parallel=3, options="--other")
    side_by_side = retrainer(here)("test", [COSINE, PRESET], SEEDS).results
    assert len(ran(here)) == 10
    assert side_by_side.reporting_loss.tolist() == one_by_one.reporting_loss.tolist()


def test_an_interrupted_retraining_leaves_no_process_and_keeps_what_was_finished(road: MakeRoad) -> None:
    here = road(options="slow-4", parallel=2)

    def interrupt(what: str, done: int, total: int) -> None:
        pid = here.root / "pid"
        if what.endswith(": test"):
            while not (pid.is_file() and pid.read_text()):
                time.sleep(0.02)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        retrainer(replace(here, report=interrupt))("test", [COSINE], (3, 5, 4))
    with pytest.raises(ProcessLookupError):
        os.kill(int((here.root / "pid").read_text()), 0)
    before = ran(here)
    retrainer(here)("test", [COSINE], (3, 5))
    assert ran(here) == before


def test_a_run_that_diverged_is_the_worst_and_no_failure(road: MakeRoad) -> None:
    wild = Configuration(name="constant", schedule=CONTROLS["constant"], learning_rate=1e5)
    results = retrainer(road())("test", [wild, COSINE], SEEDS).results
    assert results.diverged.tolist() == [True, True, False, False]
    assert np.isnan(results.selection_loss[:2]).all()


def test_a_run_that_fails_is_a_row_of_its_own_and_the_others_go_on(
    road: MakeRoad, caplog: pytest.LogCaptureFixture
) -> None:
    here = road(options="3")
    with caplog.at_level(logging.WARNING):
        results = retrainer(here)("test", [COSINE, PRESET], SEEDS[::-1]).results
    assert results.seed.tolist() == [4, 3, 4, 3]
    assert results.failed.tolist() == [False, True, False, True]
    assert not results.diverged.any()
    (record,) = caplog.records  # both fail for the same reason, which is said once
    assert (
        "train.py ended with exit status 1; its last output:\n  the data are gone (cosine at 0.1, seed 3)"
        in record.message
    )
    # They are not tried again for the next purpose, but by the next refresh.
    train = retrainer(here)
    train("tuning", [COSINE], (3,))
    before = ran(here)
    train("test", [COSINE], (3,))
    assert ran(here) == before


def test_where_the_higher_metric_is_better_it_counts_negated(road: MakeRoad) -> None:
    train = retrainer(road(metric="accuracy", report_metric="", mode="max"))
    made = train("test", [COSINE], SEEDS)
    assert made.results.selection_loss.tolist() == made.results.reporting_loss.tolist()
    assert np.all(made.results.reporting_loss < -0.7)
    assert made.naive_loss > 0


def test_a_verdict_is_told_apart_where_one_metric_chooses_and_reports(road: MakeRoad) -> None:
    apart, report = (named_workload(road(report_metric=name), GROUP) for name in ("test_loss", ""))
    assert apart is not None and report is not None
    assert (apart.selection, report.selection) == ("apart", "report")
    assert (apart.kind, apart.own, apart.users) == ("command", True, True)


def test_changed_code_is_another_command(road: MakeRoad) -> None:
    here = road()
    before = named_workload(here, GROUP)
    (here.root / "train.py").write_text(TRAINING.replace("0.3 *", "0.2 *"))
    after = named_workload(here, GROUP)
    assert before is not None and after is not None
    assert before.address == after.address
    assert before.code != after.code


def test_configurations_that_no_file_can_hold_are_refused_by_name(road: MakeRoad) -> None:
    short_ramp = Schedule(envelope=Envelope(shape="linear", ramp=0.01))
    odd = Configuration(name="team-linear", schedule=short_ramp, learning_rate=0.1)
    here = road()
    with pytest.raises(ValueError, match="got 'team-linear', which has neither a rule nor a control's name"):
        retrainer(here)("test", [COSINE, odd], SEEDS)
    assert not (here.root / "ran").exists()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"metric": "loss"}, "train.py logged no series 'loss'; there are accuracy, lr, test_loss, val_loss"),
        ({"options": "4"}, "train.py ended with exit status 1; its last output:\n  the data are gone"),
        ({"mode": "max"}, r"must end with val_loss above its first value \(mode = 'max'\), got [\d.]+ and at last 0.1"),
    ],
)
def test_a_command_is_tried_before_it_is_relied_on(road: MakeRoad, changes: dict[str, Any], message: str) -> None:
    here = road(**changes)
    with pytest.raises(CommandFailedError, match=message):
        retrainer(here)("test", [COSINE], SEEDS)
    assert ran(here) == [4]


def test_a_command_that_does_not_follow_its_seed_is_warned_of(road: MakeRoad, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        retrainer(road(options="unsteady"))("test", [COSINE], SEEDS)
    (record,) = caplog.records
    assert "with one seed and one schedule: its pairs are not exact, and more seeds are needed" in record.message


def test_a_command_says_nothing_of_its_usual_rate(road: MakeRoad) -> None:
    with pytest.raises(ValueError, match=f"groups.{GROUP}.learning_rate must be given where the logs know no rate"):
        retrainer(road()).usual_rate()
    assert retrainer(road()).largest_stable_rate is None


def test_a_command_belongs_to_the_family_of_its_group(road: MakeRoad) -> None:
    assert retrainer(road()).family == GROUP


def test_what_a_run_takes_is_known_from_those_that_were_made_else_from_a_trial(road: MakeRoad) -> None:
    here = road()
    commands = retrainer(here).commands
    assert commands is not None
    assert commands.seconds_each(0.1) > 0
    assert len(ran(here)) == 2  # the trial, and its repetition
    before = ran(here)
    again = retrainer(here).commands
    assert again is not None
    assert again.seconds_each(0.1) > 0
    assert ran(here) == before


def test_steps_are_given_only_to_a_command_that_takes_them(road: MakeRoad) -> None:
    here = road(options="{steps}", steps=60)
    retrainer(here)("test", [COSINE], (3,))
    without = Road(settings=load_settings(here.root / "greedylr.toml"), root=here.root)
    workload = named_workload(without, GROUP)
    assert workload is not None and workload.command is not None
    template = workload.command.template.replace(" {steps}", "")
    bare = replace(workload, command=TrainingCommand(template=template, metric="val_loss"))
    with pytest.raises(ValueError, match=r"a command must have \{steps\} in it to be given some"):
        Retrainer(without, GROUP, bare)
