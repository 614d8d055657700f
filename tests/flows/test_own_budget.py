"""A refresh that proves a user's own workload on the budget of the settings."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from flows.road import Road
from greedylr import Preset
from pipeline.settings import load_settings

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
