"""A user's own training command, proved by `greedylr run` from the user's repository."""

import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from parabola_command import ROOT, TRAINING

from flows.road import Road
from greedylr import Preset
from greedylr.registry import registered_presets
from pipeline.settings import load_settings

pytestmark = [pytest.mark.integration, pytest.mark.timeout(1800)]

GROUP = "parabola-sgd"
SETTINGS = f"""
[groups."{GROUP}"]
command = "{sys.executable} train.py {{seed}} {{learning_rate}} {{schedule}}"
metric = "val_loss"
parallel = 2

[budget]
max_seeds = 5
"""
HABIT = [("cosine", 0.003)] * 8
TRIALS = [("constant", 0.01), ("linear", 0.03), ("step", 0.1), ("constant", 0.3)]

Story = dict[str, Any]


@pytest.fixture(scope="module")
def story(
    tmp_path_factory: pytest.TempPathFactory,
    new_repository: Callable[..., Path],
    log_history: Callable[..., None],
    mlflow_store_template: Path,
    greedylr: Callable[..., Any],
) -> Story:
    """What was seen at each stage."""
    root = new_repository(tmp_path_factory.mktemp("users") / "repository", SETTINGS)
    (root / "train.py").write_text(TRAINING)
    log_history(root / "mlflow.db", "parabola", [*HABIT, *TRIALS])
    shutil.copyfile(mlflow_store_template, root / "data" / "command_runs.db")
    road = Road(settings=load_settings(root / "greedylr.toml"), root=root)
    seen: Story = {"store before": (root / "mlflow.db").read_bytes()}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(ROOT))
        seen["plan"] = greedylr(root, "run", "--dry-run")
        seen["planned: ran"] = (root / "ran").exists()
        seen["run"] = greedylr(root, "run")
        seen["run: ran"] = len((root / "ran").read_text().split())
        seen["again"] = greedylr(root, "run")
        seen["again: ran"] = len((root / "ran").read_text().split())
    seen["versions"] = road.warehouse.frame("from preset_versions").to_dicts()
    seen["retrainings"] = len(road.warehouse.frame("from retrainings"))
    seen["tags"] = registered_presets(road.settings.registry_uri)
    seen["store after"] = (root / "mlflow.db").read_bytes()
    seen["picture"] = (root / "data" / "pictures" / f"{GROUP}.png").is_file()
    return seen


def test_a_dry_run_shows_the_command_and_starts_it_never(story: Story) -> None:
    (line,) = [line for line in story["plan"].out.splitlines() if line.startswith(GROUP)]
    assert "train.py" in line
    assert not story["planned: ran"]


def test_a_command_is_proved_and_registered_as_the_groups_own_workload(story: Story) -> None:
    assert story["run"].status == 0, story["run"].err
    (version,) = story["versions"]
    verdict = Preset.from_json(version["preset"]).verdict
    assert verdict is not None
    assert (verdict.own_workload, verdict.primary_control, verdict.verdict) == (True, "incumbent", "better")
    assert verdict.device_seconds > 0
    assert story["picture"]


def test_the_verdict_says_that_one_metric_chose_and_reported(story: Story) -> None:
    preset = Preset.from_json(story["versions"][0]["preset"])
    assert preset.verdict is not None and preset.verdict.selection == "report"
    (title,) = [line for line in story["run"].out.splitlines() if line.startswith(f"{GROUP}: ")]
    assert ", selection = report" in title


def test_a_preset_tells_of_the_training_what_its_runs_say(story: Story) -> None:
    told = Preset.from_json(story["versions"][0]["preset"]).provenance
    assert (told.optimizer, told.parameters, told.batch_size) == ("sgd", None, None)


def test_runs_of_the_command_are_not_history_and_the_users_store_stays_as_it_was(story: Story) -> None:
    assert story["store after"] == story["store before"]
    assert "unchanged" in story["again"].out


def test_a_second_refresh_runs_nothing(story: Story) -> None:
    # One run more than the proof has, to see whether the seed decides everything; some serve two purposes.
    assert 0 < story["run: ran"] <= story["retrainings"] + 1
    assert story["again: ran"] == story["run: ran"]
