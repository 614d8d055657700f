"""A user's own training on a budget: a workload in a refresh, and a command in a validation."""

import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from flows.road import Road
from greedylr import Preset
from pipeline.settings import load_settings
from tests.flows.parabola_command import ROOT, TRAINING

pytestmark = pytest.mark.integration

GROUP = "regression-sgd"
SETTINGS = f"""
[groups."{GROUP}"]
workload = "training.py:workload"

[budget]
max_runs = 30

[promotion]
mode = "auto"
"""
# Not far too low for the regression, which learns within its 60 steps from there too.
HISTORY = [("cosine", 0.001)] * 8


def test_a_proof_on_a_budget_is_registered_with_what_it_spent(
    tmp_path: Path,
    new_repository: Callable[..., Path],
    log_history: Callable[..., None],
    greedylr: Callable[..., Any],
) -> None:
    root = new_repository(tmp_path / "repository", SETTINGS)
    log_history(root / "mlflow.db", "regression", HISTORY)
    ended = greedylr(root, "run")
    assert ended.status == 0, ended.err
    warehouse = Road(settings=load_settings(root / "greedylr.toml"), root=root).warehouse
    retrainings = warehouse.frame("select purpose, schedule_name, starting_rate from retrainings")
    # The incumbent at its usual rate and cosine's tuning; no race, and the preset at the rate that the logs say.
    assert set(retrainings["purpose"]) <= {"test", "tuning"}
    assert len(retrainings) <= 30
    assert warehouse.frame("select count(*) as rows from race_standings")["rows"][0] == 0
    (version,) = warehouse.frame("from preset_versions").to_dicts()
    verdict = Preset.from_json(version["preset"]).verdict
    assert verdict is not None
    assert (verdict.primary_control, verdict.own_workload, verdict.control_tuned) == ("incumbent", True, True)
    assert verdict.device_seconds > 0
    assert "device-seconds" in ended.out


COMMAND = f"""
[groups."parabola-sgd"]
command = "{sys.executable} train.py {{seed}} {{learning_rate}} {{schedule}}"
metric = "val_loss"
report_metric = "test_loss"
learning_rate = 0.1
"""


def test_a_groups_command_is_validated_within_its_budget_and_goes_on_where_it_was(
    tmp_path: Path,
    new_repository: Callable[..., Path],
    mlflow_store_template: Path,
    greedylr: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    root = new_repository(tmp_path / "repository", COMMAND)
    shutil.copyfile(mlflow_store_template, root / "data" / "command_runs.db")
    (root / "train.py").write_text(TRAINING)
    command = ("validate", "robust", "--group", "parabola-sgd", "--max-runs", "10", "--json")
    ended = greedylr(root, *command)
    assert ended.status == 0, ended.err
    (told,) = json.loads(ended.out)["validations"]
    assert (told["trainings"], told["verdict"]["seeds"], told["family"]) == (10, 5, "parabola-sgd")
    assert (told["verdict"]["own_workload"], told["verdict"]["selection"]) == (True, "apart")
    assert told["device_seconds"] > 0
    runs = (root / "ran").read_text()
    again = greedylr(root, *command)
    assert json.loads(again.out)["validations"][0]["verdict"]["difference"] == told["verdict"]["difference"]
    assert (root / "ran").read_text() == runs
