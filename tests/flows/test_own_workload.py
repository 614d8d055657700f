"""A user's own training, run from the user's repository: killed in the middle of the retraining, and begun again."""

import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from flows.group_workload import group_workload
from flows.retraining import Retrainer
from flows.road import Road, learn
from greedylr import Preset
from greedylr.registry import registered_presets
from pipeline.settings import load_settings

GROUP = "regression-sgd"
SETTINGS = f"""
[groups."{GROUP}"]
workload = "training.py:workload"

[budget]
max_seeds = 5

[promotion]
mode = "auto"
"""
# The team's habit is far too low; beside it there are a few better rates, and two that diverge.
HABIT = [("cosine", 0.0003)] * 8
TRIALS = [("constant", 0.001), ("constant", 0.01), ("linear", 0.03), ("step", 0.1), ("constant", 1.0), ("linear", 1.0)]

Story = dict[str, Any]


def started(root: Path) -> "subprocess.Popen[str]":
    command = [str(Path(sys.executable).with_name("greedylr")), "run"]
    return subprocess.Popen(command, cwd=root, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def finished_jobs(root: Path) -> dict[str, int]:
    """When the results of retraining jobs were written."""
    return {path.parent.name: path.stat().st_mtime_ns for path in root.glob("data/jobs/*/*/result.json")}


@pytest.fixture(scope="module")
def story(
    tmp_path_factory: pytest.TempPathFactory,
    new_repository: Callable[..., Path],
    log_history: Callable[..., None],
    greedylr: Callable[..., Any],
) -> Story:
    """What was seen at each stage."""
    root = new_repository(tmp_path_factory.mktemp("users") / "repository", SETTINGS)
    log_history(root / "mlflow.db", "regression", [*HABIT, *TRIALS])
    road = Road(settings=load_settings(root / "greedylr.toml"), root=root)
    seen: Story = {"root": root, "store before": (root / "mlflow.db").read_bytes()}

    process = started(root)
    while len(finished_jobs(root)) < 3:
        assert process.poll() is None, process.communicate()[1]
        time.sleep(0.02)
    process.kill()
    process.communicate()
    seen["killed: jobs"] = finished_jobs(root)
    seen["killed: registered"] = registered_presets(road.settings.registry_uri)
    seen["killed: versions"] = len(road.warehouse.frame("from preset_versions"))

    process = started(root)
    seen["run: out"], seen["run: err"] = process.communicate(timeout=240)
    seen["run: status"] = process.returncode
    seen["run: jobs"] = finished_jobs(root)
    seen["run: cells"] = road.warehouse.frame("from cells")
    seen["run: versions"] = road.warehouse.frame("from preset_versions").to_dicts()
    seen["store after"] = (root / "mlflow.db").read_bytes()

    seen["again"] = greedylr(root, "run")
    seen["again: jobs"] = finished_jobs(root)
    learned = learn(road, GROUP)
    seen["usual rate"] = Retrainer(road, GROUP, group_workload(road, GROUP, learned)).descriptors().usual_learning_rate
    network = root / "models" / "network.py"
    network.write_text(network.read_text().replace("torch.randn(5", "0.5 * torch.randn(5"))
    seen["code changed"] = greedylr(root, "run", "--dry-run")
    return seen


def test_a_killed_refresh_has_registered_nothing(story: Story) -> None:
    assert story["killed: registered"] == []
    assert story["killed: versions"] == 0


def test_the_next_refresh_goes_on_with_the_jobs_that_were_finished(story: Story) -> None:
    assert len(story["killed: jobs"]) >= 3
    assert story["killed: jobs"].items() <= story["run: jobs"].items()


def test_a_training_beside_a_models_package_of_the_users_is_proved_from_the_users_folder(story: Story) -> None:
    assert story["run: status"] == 0, story["run: err"]
    assert "Traceback" not in story["run: err"]
    (version,) = story["run: versions"]
    verdict = Preset.from_json(version["preset"]).verdict
    assert verdict is not None
    assert (verdict.workload, verdict.own_workload, verdict.attempt) == ("training.py:workload", True, 1)
    (title,) = [line for line in story["run: out"].splitlines() if line.startswith(f"{GROUP}: ")]
    assert title.startswith(f"{GROUP}: better than incumbent")
    assert title.endswith(f", models:/greedylr-{GROUP}@champion")


def test_a_preset_that_beats_the_teams_habit_becomes_champion_where_promotion_is_automatic(story: Story) -> None:
    (version,) = story["run: versions"]
    preset = Preset.from_json(version["preset"])
    assert preset.verdict is not None
    assert (preset.verdict.primary_control, preset.verdict.verdict) == ("incumbent", "better")
    assert (version["alias"], version["version"], version["verdict"]) == ("champion", 1, "better")
    incumbent = story["run: cells"].filter(pl.col("control") == "incumbent").to_dicts()
    assert [(cell["region"], cell["control_rate"]) for cell in incumbent] == [("own rate", 0.0003)]


def test_a_preset_tells_of_the_training_that_it_was_proved_on(story: Story) -> None:
    (version,) = story["run: versions"]
    told = Preset.from_json(version["preset"]).provenance
    # 5 weights and a bias; the workload names no task, so its family speaks for it.
    assert (told.optimizer, told.task, told.parameters, told.batch_size) == ("sgd", "own", 6, 8)


def test_the_users_store_stays_as_it_was(story: Story) -> None:
    assert story["store after"] == story["store before"]


def test_without_new_runs_nothing_is_retrained(story: Story) -> None:
    assert story["again"].status == 0
    assert story["again: jobs"] == story["run: jobs"]


def test_changed_code_that_the_training_imports_calls_for_a_new_proof(story: Story) -> None:
    (line,) = [line for line in story["code changed"].out.splitlines() if line.startswith(GROUP)]
    # 14 controls and the preset from 6 rates and at their own, incumbent and champion; 5 seeds each.
    assert line.split() == [GROUP, "14", "training.py:workload", "about", "911", "a", "proof"]


def test_a_training_is_asked_for_its_usual_rate_where_the_logs_know_none(story: Story) -> None:
    assert story["usual rate"] == 0.01
