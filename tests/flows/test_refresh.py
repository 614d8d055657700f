"""One group's way over several refreshes: interrupted, killed, proved, unchanged, proved again, promoted, rolled back."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from flows.proof import rivals_of
from flows.road import Road, learn
from greedylr import Preset, load_preset
from greedylr.registry import registered_presets
from pipeline.settings import load_settings

GROUP = "regression-sgd"
NAME = f"greedylr-{GROUP}"
SETTINGS = f"""
[groups."{GROUP}"]
workload = "training.py:workload"

[budget]
max_seeds = 5

[promotion]
mode = "auto"
"""
# The team's habit is far too low; beside it there are a few good rates and two that diverge.
HABIT = [("cosine", 0.0003)] * 8
TRIALS = [("constant", 0.001), ("constant", 0.01), ("linear", 0.03), ("step", 0.1), ("constant", 1.0), ("linear", 1.0)]


def road_of(root: Path) -> Road:
    return Road(settings=load_settings(root / "greedylr.toml"), root=root)


def started(root: Path) -> "subprocess.Popen[str]":
    command = [str(Path(sys.executable).with_name("greedylr")), "run"]
    return subprocess.Popen(command, cwd=root, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def finished_jobs(root: Path) -> dict[str, int]:
    """When the results of retraining jobs were written."""
    return {path.parent.name: path.stat().st_mtime_ns for path in root.glob("data/jobs/*/*/result.json")}


def wait_for_jobs(process: "subprocess.Popen[str]", root: Path, count: int) -> None:
    while len(finished_jobs(root)) < count:
        assert process.poll() is None, process.communicate()[1]
        time.sleep(0.02)


def versions(root: Path) -> pl.DataFrame:
    return road_of(root).warehouse.frame("from preset_versions order by attempt")


def test_seeds(root: Path) -> set[int]:
    frame = road_of(root).warehouse.frame("select distinct seed from retrainings where purpose = 'test'")
    return set(frame["seed"].to_list())


test_seeds.__test__ = False  # type: ignore[attr-defined]


@pytest.fixture(scope="module")
def story(
    tmp_path_factory: pytest.TempPathFactory,
    new_repository: Callable[..., Path],
    log_history: Callable[..., None],
    greedylr: Callable[..., Any],
    contents: Callable[[Path], dict[str, Any]],
) -> dict[str, Any]:
    """What was seen at each stage."""
    root = new_repository(tmp_path_factory.mktemp("users") / "repository", SETTINGS)
    log_history(root / "mlflow.db", "regression", [*HABIT, *TRIALS])
    seen: dict[str, Any] = {"root": root, "store": (root / "mlflow.db").read_bytes()}

    process = started(root)
    wait_for_jobs(process, root, 1)
    process.send_signal(signal.SIGINT)
    seen["interrupted"] = (*process.communicate(timeout=60), process.returncode)
    seen["jobs when interrupted"] = finished_jobs(root)

    process = started(root)
    wait_for_jobs(process, root, 4)
    process.kill()
    process.communicate()
    seen["jobs when killed"] = finished_jobs(root)
    seen["registered when killed"] = registered_presets(road_of(root).settings.registry_uri)
    seen["versions when killed"] = len(versions(root))

    process = started(root)
    seen["first"] = (*process.communicate(timeout=240), process.returncode)
    seen["jobs of the first"] = finished_jobs(root)
    seen["seeds of the first"] = test_seeds(root)
    seen["cells of the first"] = road_of(root).warehouse.frame("from cells")
    seen["versions of the first"] = versions(root)

    before = contents(root)
    seen["second"] = greedylr(root, "run")
    seen["changed by the second"] = {name for name, when in contents(root).items() if before.get(name) != when}
    seen["versions of the second"] = versions(root)

    log_history(root / "mlflow.db", "regression", [("constant", 0.02)], first=100)
    settings = (root / "greedylr.toml").read_text()
    (root / "greedylr.toml").write_text(settings.replace("training.py:workload", "training:workload"))
    before = contents(root)
    seen["dry run"] = greedylr(root, "run", "--dry-run")
    seen["changed by the dry run"] = {name for name, when in contents(root).items() if before.get(name) != when}
    seen["third"] = greedylr(root, "run")
    seen["seeds of the third"] = test_seeds(root)
    seen["cells of the third"] = road_of(root).warehouse.frame("from cells")
    seen["versions of the third"] = versions(root)
    seen["listed"] = json.loads(greedylr(root, "presets", "list", "--json").out)
    return seen


def test_ctrl_c_ends_with_one_line_and_leaves_nothing_behind(story: dict[str, Any]) -> None:
    out, err, status = story["interrupted"]
    assert (out, status) == ("", 1)
    assert err.splitlines()[-1] == ("interrupted: what was finished is kept, and the same command goes on from there")
    assert "Traceback" not in err


def test_a_killed_refresh_has_registered_nothing(story: dict[str, Any]) -> None:
    assert story["registered when killed"] == []
    assert story["versions when killed"] == 0


def test_a_refresh_goes_on_with_the_jobs_that_were_finished(story: dict[str, Any]) -> None:
    assert story["jobs when interrupted"].items() <= story["jobs when killed"].items()
    assert len(story["jobs when killed"]) >= 4
    assert story["jobs when killed"].items() <= story["jobs of the first"].items()


def test_a_workload_beside_a_models_package_of_the_users_is_proved_from_the_users_folder(
    story: dict[str, Any],
) -> None:
    out, err, status = story["first"]
    assert status == 0, err
    assert "Traceback" not in err
    (version,) = story["versions of the first"].to_dicts()
    verdict = Preset.from_json(version["preset"]).verdict
    assert verdict is not None
    assert (verdict.workload, verdict.own_workload, verdict.attempt) == ("training.py:workload", True, 1)
    assert f"models:/{NAME}@champion" in out


def test_a_preset_that_beats_the_habit_of_the_team_becomes_champion_by_itself(story: dict[str, Any]) -> None:
    (version,) = story["versions of the first"].to_dicts()
    preset = Preset.from_json(version["preset"])
    assert preset.verdict is not None
    assert (preset.verdict.primary_control, preset.verdict.verdict) == ("incumbent", "better")
    assert (version["alias"], version["version"], version["registered_name"]) == ("champion", 1, NAME)
    incumbent = story["cells of the first"].filter(pl.col("control") == "incumbent").to_dicts()
    assert [(cell["region"], cell["control_rate"]) for cell in incumbent] == [("own rate", 0.0003)]
    assert "champion" not in story["cells of the first"]["control"].to_list()


def test_the_users_store_is_not_touched(story: dict[str, Any]) -> None:
    # Only what was logged later is new; the pages of the runs before are those of the start.
    assert story["store"][:16] == (story["root"] / "mlflow.db").read_bytes()[:16]
    assert "mlflow.db" not in story["changed by the second"] | story["changed by the dry run"]


def test_a_second_refresh_without_new_runs_learns_and_retrains_nothing(story: dict[str, Any]) -> None:
    assert story["second"].status == 0
    assert "unchanged  nothing new since its preset was proved" in story["second"].out
    assert story["versions of the second"].equals(story["versions of the first"])
    # What is left is the time at which the source was last read.
    assert story["changed by the second"] == {"data/greedylr.duckdb"}


def test_a_dry_run_says_what_it_would_cost_and_retrains_nothing(story: dict[str, Any]) -> None:
    assert story["dry run"].status == 0
    (line,) = [line for line in story["dry run"].out.splitlines() if line.startswith(GROUP)]
    # 14 controls and the preset, 16 runs whose prevailing schedule is the incumbent, and the champion.
    assert line.split() == [GROUP, "15", "training:workload", "about", "911", "a", "proof"]
    assert story["changed by the dry run"] == {"data/greedylr.duckdb"}


def test_a_new_run_lets_the_group_be_proved_again_with_seeds_of_its_own(story: dict[str, Any]) -> None:
    assert story["third"].status == 0, story["third"].err
    assert story["versions of the third"]["attempt"].to_list() == [1, 2]
    assert story["versions of the third"]["version"].to_list() == [1, 2]
    assert story["versions of the third"][:1].equals(story["versions of the first"])
    assert len(story["seeds of the first"]) == len(story["seeds of the third"]) == 5
    assert not story["seeds of the first"] & story["seeds of the third"]
    verdict = Preset.from_json(story["versions of the third"]["preset"][1]).verdict
    assert verdict is not None
    assert (verdict.workload, verdict.attempt) == ("training:workload", 2)


def test_the_reigning_champion_is_a_rival(story: dict[str, Any]) -> None:
    champions = story["cells of the third"].filter(pl.col("control") == "champion")
    (first, second) = [Preset.from_json(text) for text in story["versions of the third"]["preset"]]
    if first.content_hash == second.content_hash:
        assert champions.is_empty()  # nothing is compared with itself
    else:
        assert champions["region"].to_list() == ["own rate"]
        assert champions["control_rate"].to_list() == [first.learning_rate]


def test_presets_are_listed_with_version_aliases_and_verdict(story: dict[str, Any]) -> None:
    rows = [row for row in story["listed"] if row["name"] == NAME]
    assert [row["version"] for row in rows] == ["2", "1"]
    assert {alias for row in rows for alias in row["aliases"]} >= {"champion"}
    assert [row["verdict"] for row in rows] == story["versions of the third"]["verdict"].to_list()[::-1]


def test_evidence_pictures_and_the_preset_itself_lie_in_the_registry(story: dict[str, Any]) -> None:
    from mlflow.tracking import MlflowClient

    uri = road_of(story["root"]).settings.registry_uri
    client = MlflowClient(tracking_uri=uri, registry_uri=uri)
    version = client.get_model_version(NAME, "1")
    paths = {
        info.path
        for folder in ("evidence", "pictures", "preset")
        for info in client.list_artifacts(version.run_id, folder)
    }
    assert paths == {
        "evidence/cells.json",
        "evidence/control_rates.json",
        "evidence/headline.json",
        "evidence/race.json",
        f"pictures/{GROUP}.png",
        "preset/preset.json",
    }
    assert client.get_run(version.run_id).data.tags["greedylr.role"] == "registration"


def test_promote_and_rollback_record_who_and_why(story: dict[str, Any], greedylr: Callable[..., Any]) -> None:
    root: Path = story["root"]
    uri = road_of(root).settings.registry_uri
    with contextlib.suppress(KeyError):
        os.environ.pop("MLFLOW_REGISTRY_URI")
    champion = next(row.version for row in registered_presets(uri) if "champion" in row.aliases)
    other = {"1": "2", "2": "1"}[champion]

    made = greedylr(root, "promote", GROUP, other, "--reason", "held on our nightly training")
    assert (made.status, made.err) == (0, "")
    assert made.out == f"{NAME} version {other} is champion: models:/{NAME}@champion\n"
    promoted = tags(uri, other)
    assert promoted["greedylr.promoted_reason"] == "held on our nightly training"
    assert "@" in promoted["greedylr.promoted_by"]

    back = greedylr(root, "rollback", GROUP, "--reason", "spikes on the large data set")
    assert (back.status, back.err) == (0, "")
    assert back.out == f"{NAME} version {champion} is champion again: models:/{NAME}@champion\n"
    assert tags(uri, other)["greedylr.rolled_back_reason"] == "spikes on the large data set"
    assert "@" in tags(uri, other)["greedylr.rolled_back_by"]
    assert load_preset(f"models:/{NAME}@champion", registry_uri=uri).verdict is not None


def tags(uri: str, version: str) -> dict[str, str]:
    from mlflow.tracking import MlflowClient

    return dict(MlflowClient(tracking_uri=uri, registry_uri=uri).get_model_version(NAME, version).tags)


def test_a_promotion_of_what_is_not_there_is_the_users_mistake(
    story: dict[str, Any], greedylr: Callable[..., Any]
) -> None:
    ended = greedylr(story["root"], "promote", GROUP, "7", "--reason", "better")
    assert (ended.status, ended.out) == (2, "")
    assert ended.err == f"Error: {NAME} must have the version to promote, got 7; it has 1, 2\n"
    ended = greedylr(story["root"], "promote", "regresion-sgd", "1", "--reason", "better")
    assert (ended.status, ended.out) == (2, "")
    assert ended.err == f"Error: the registry must hold a preset of the group, got 'regresion-sgd'; it holds {NAME}\n"


def test_the_champion_whose_file_is_gone_is_not_passed_over(story: dict[str, Any]) -> None:
    root: Path = story["root"]
    road = road_of(root)
    assert set(rivals_of(road, learn(road, GROUP))) == {"incumbent", "champion"}
    hidden = root / "data" / "artifacts-elsewhere"
    (root / "data" / "artifacts").rename(hidden)
    try:
        with pytest.raises(LookupError, match="were the registry's artifacts moved or deleted"):
            rivals_of(road, learn(road, GROUP))
    finally:
        hidden.rename(root / "data" / "artifacts")
