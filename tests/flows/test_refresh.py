"""One group over several refreshes: proved, unchanged, proved again after a new run, promoted and rolled back."""

import json
import shutil
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

GROUP = "digits-sgd"
NAME = f"greedylr-{GROUP}"
SETTINGS = f"""
allow_registry_as_source = true

[groups."{GROUP}"]
workload = "reference:digits-nmf"
steps = 40

[budget]
max_seeds = 5
"""
# The team's habit is far too low.
HISTORY = [*[("cosine", 0.003)] * 8, ("constant", 0.01), ("constant", 0.1), ("linear", 0.3), ("step", 0.03)]

Story = dict[str, Any]


def road_of(root: Path) -> Road:
    return Road(settings=load_settings(root / "greedylr.toml"), root=root)


def rows(root: Path, query: str) -> pl.DataFrame:
    return road_of(root).warehouse.frame(query)


@pytest.fixture(scope="module")
def story(
    tmp_path_factory: pytest.TempPathFactory,
    new_repository: Callable[..., Path],
    log_history: Callable[..., None],
    greedylr: Callable[..., Any],
    contents: Callable[[Path], dict[str, Any]],
) -> Story:
    """What was seen at each stage. The team has a single store: its runs and our presets are in one database."""
    root = new_repository(tmp_path_factory.mktemp("users") / "repository", SETTINGS)
    settings = root / "greedylr.toml"
    settings.write_text(settings.read_text().replace("sqlite:///data/registry.db", "sqlite:///mlflow.db"))
    log_history(root / "mlflow.db", "digits", HISTORY)
    seen: Story = {"root": root, "first": greedylr(root, "run")}
    seen["first: versions"] = rows(root, "from preset_versions")
    seen["first: seeds"] = set(rows(root, "from retrainings where purpose = 'test'")["seed"])
    seen["first: cells"] = rows(root, "from cells")

    # As if the process had been killed between the registration and the warehouse's own record of it.
    with road_of(root).warehouse.writing() as connection:
        connection.execute("delete from stages where stage = 'prove'")
        connection.execute("delete from preset_versions")
    seen["cut short"] = greedylr(root, "run")
    seen["cut short: versions"] = rows(root, "from preset_versions")
    seen["cut short: registered"] = registered_presets(road_of(root).settings.registry_uri)

    before = contents(root)
    seen["second"] = greedylr(root, "run")
    seen["second: changed"] = {name for name, when in contents(root).items() if before.get(name) != when}
    seen["second: versions"] = rows(root, "from preset_versions")
    seen["ingest"] = greedylr(root, "ingest")

    greedylr(root, "promote", GROUP, "1", "--reason", "to be the one to beat")
    log_history(root / "mlflow.db", "digits", [("constant", 0.2)], first=100)
    before = contents(root)
    seen["dry run"] = greedylr(root, "run", "--dry-run")
    seen["dry run: changed"] = {name for name, when in contents(root).items() if before.get(name) != when}
    seen["third"] = greedylr(root, "run")
    seen["third: versions"] = rows(root, "from preset_versions order by attempt")
    seen["third: seeds"] = set(rows(root, "from retrainings where purpose = 'test'")["seed"])
    seen["third: cells"] = rows(root, "from cells")
    seen["listed"] = greedylr(root, "presets", "list", "--json")

    # The repository and with it the store, elsewhere, with another registry and another way of promotion.
    moved = root.with_name("moved")
    shutil.copytree(root, moved)
    settings = moved / "greedylr.toml"
    settings.write_text(
        settings.read_text().replace("sqlite:///mlflow.db", "sqlite:///data/registry.db")
        + '[promotion]\nmode = "auto"\n'
    )
    jobs = contents(moved / "data" / "jobs")
    seen["moved: plan"] = greedylr(moved, "run", "--dry-run")
    seen["moved"] = greedylr(moved, "run")
    seen["moved: jobs changed"] = contents(moved / "data" / "jobs") != jobs
    seen["moved: versions"] = rows(moved, "from preset_versions order by attempt")
    seen["moved: registered"] = registered_presets(road_of(moved).settings.registry_uri)
    seen["moved, again"] = greedylr(moved, "run")
    (moved / "data" / "greedylr.duckdb").unlink()
    seen["lost"] = greedylr(moved, "run")
    seen["lost: versions"] = rows(moved, "from preset_versions")
    return seen


def test_where_promotion_is_manual_even_a_better_preset_is_a_candidate(story: Story) -> None:
    assert story["first"].status == 0, story["first"].err
    (version,) = story["first: versions"].to_dicts()
    verdict = Preset.from_json(version["preset"]).verdict
    assert verdict is not None
    assert (verdict.verdict, verdict.primary_control, verdict.own_workload) == ("better", "incumbent", True)
    assert version["alias"] == "candidate"
    (title,) = [line for line in story["first"].out.splitlines() if line.startswith(f"{GROUP}: ")]
    assert title.startswith(f"{GROUP}: better than incumbent")
    assert title.endswith(f", models:/{NAME}@candidate")


def test_a_registration_that_was_cut_short_goes_on_with_the_version_that_is_there(story: Story) -> None:
    assert story["cut short"].status == 0
    assert [row.version for row in story["cut short: registered"]] == ["1"]
    kept = ["attempt", "version", "alias", "preset_hash", "verdict"]
    assert story["cut short: versions"].select(kept).equals(story["first: versions"].select(kept))


def test_a_second_refresh_without_new_runs_learns_and_retrains_nothing(story: Story) -> None:
    assert story["second"].status == 0
    assert f"{GROUP}  unchanged  nothing new since its preset was proved" in story["second"].out
    assert story["second: versions"].equals(story["cut short: versions"])
    # What is written is when the source was last read.
    assert story["second: changed"] == {"data/greedylr.duckdb"}


def test_our_own_registration_in_a_shared_store_is_no_history(story: Story) -> None:
    assert "12 unchanged, 1 left out (trained by greedylr)" in story["ingest"].out
    assert rows(story["root"], "from runs")["experiment_name"].unique().to_list() == ["digits"]


def test_a_dry_run_says_what_a_proof_would_cost_and_retrains_nothing(story: Story) -> None:
    assert story["dry run"].status == 0
    (line,) = [line for line in story["dry run"].out.splitlines() if line.startswith(GROUP)]
    assert line.split() == [GROUP, "13", "digits-nmf", "about", "911", "a", "proof"]
    assert story["dry run: changed"] == {"data/greedylr.duckdb"}


def test_a_new_run_lets_the_group_be_proved_again_with_other_seeds(story: Story) -> None:
    assert story["third"].status == 0, story["third"].err
    assert story["third: versions"]["attempt"].to_list() == [1, 2]
    assert story["third: versions"]["version"].to_list() == [1, 2]
    assert story["third: versions"][:1].equals(story["cut short: versions"])
    assert len(story["first: seeds"]) == len(story["third: seeds"]) == 5
    assert not story["first: seeds"] & story["third: seeds"]
    verdict = Preset.from_json(story["third: versions"]["preset"][1]).verdict
    assert verdict is not None and verdict.attempt == 2


def test_incumbent_and_reigning_champion_are_met_at_their_own_rates(story: Story) -> None:
    first = Preset.from_json(story["first: versions"]["preset"][0])
    second = Preset.from_json(story["third: versions"]["preset"][1])
    rivals = ["incumbent", "champion"]
    assert story["first: cells"].filter(pl.col("control").is_in(rivals))["control"].to_list() == ["incumbent"]
    met = story["third: cells"].filter(pl.col("control").is_in(rivals))
    expected: list[tuple[Any, ...]] = [("incumbent", "own rate", 0.003)]
    # A champion that wins again is not compared with itself.
    if second.content_hash != first.content_hash:
        expected.append(("champion", "own rate", first.learning_rate))
    assert [tuple(row) for row in met.select("control", "region", "control_rate").rows()] == expected


def test_a_champion_stays_until_a_person_says_otherwise(story: Story) -> None:
    listed = [row for row in json.loads(story["listed"].out) if row["name"] == NAME]
    assert [(row["version"], row["aliases"]) for row in listed] == [("2", ["candidate"]), ("1", ["champion"])]
    assert [row["verdict"] for row in listed] == story["third: versions"]["verdict"].to_list()[::-1]


def test_evidence_pictures_and_the_preset_lie_in_the_registry(story: Story) -> None:
    client, version = version_of(story["root"], "1")
    folders = ("evidence", "pictures", "preset")
    assert [info.path for folder in folders for info in client.list_artifacts(version.run_id, folder)] == [
        "evidence/cells.json",
        "evidence/control_rates.json",
        "evidence/headline.json",
        "evidence/race.json",
        f"pictures/{GROUP}.png",
        "preset/preset.json",
    ]
    assert client.get_run(version.run_id).data.tags["greedylr.role"] == "registration"


def test_promote_and_rollback_record_who_and_why(story: Story, greedylr: Callable[..., Any]) -> None:
    root: Path = story["root"]
    made = greedylr(root, "promote", GROUP, "2", "--reason", "held on our nightly training")
    assert (made.status, made.out, made.err) == (0, f"{NAME} version 2 is champion: models:/{NAME}@champion\n", "")
    back = greedylr(root, "rollback", GROUP, "--reason", "spikes on the large data set")
    expected = f"{NAME} version 1 is champion again: models:/{NAME}@champion\n"
    assert (back.status, back.out, back.err) == (0, expected, "")
    tags = version_of(root, "2")[1].tags
    assert tags["greedylr.promoted_reason"] == "held on our nightly training"
    assert tags["greedylr.rolled_back_reason"] == "spikes on the large data set"
    assert "@" in tags["greedylr.promoted_by"] and tags["greedylr.promoted_by"] == tags["greedylr.rolled_back_by"]
    champion = load_preset(f"models:/{NAME}@champion", registry_uri=road_of(root).settings.registry_uri)
    assert champion.to_json() == story["first: versions"]["preset"][0]


def test_a_promotion_of_what_is_not_there_is_the_users_mistake(story: Story, greedylr: Callable[..., Any]) -> None:
    ended = greedylr(story["root"], "promote", GROUP, "7", "--reason", "better")
    assert (ended.status, ended.out) == (2, "")
    assert ended.err == f"Error: {NAME} must have the version to promote, got 7; it has 1, 2\n"
    ended = greedylr(story["root"], "promote", "digit-sgd", "1", "--reason", "better")
    assert (ended.status, ended.out) == (2, "")
    assert ended.err == f"Error: the registry must hold a preset of the group, got 'digit-sgd'; it holds {NAME}\n"


def test_where_only_the_places_changed_the_preset_is_registered_there_and_nothing_is_retrained(story: Story) -> None:
    registry = road_of(story["root"].with_name("moved")).settings.registry_uri
    remark = f"nothing new since its preset was proved, which goes to the registry {registry}"
    for ended in (story["moved: plan"], story["moved"]):
        assert ended.status == 0, ended.err
        assert remark in " ".join(ended.out.split()) or f"registered  {remark}" in ended.out
    assert not story["moved: jobs changed"]
    (row,) = story["moved: registered"]
    proved = story["third: versions"].to_dicts()[-1]
    assert (row.name, row.version, row.attempt) == (NAME, "1", 2)
    assert (row.content_hash, row.verdict) == (proved["preset_hash"], proved["verdict"])
    assert story["moved: versions"]["version"].to_list() == [1, 1]
    assert story["moved: versions"].drop("version", "alias").equals(story["third: versions"].drop("version", "alias"))
    assert row.aliases == (story["moved: versions"]["alias"][1],)
    assert f"{GROUP}  unchanged  nothing new" in story["moved, again"].out


def test_the_attempts_outlive_the_warehouse(story: Story) -> None:
    assert story["lost"].status == 0, story["lost"].err
    (version,) = story["lost: versions"].to_dicts()
    assert version["attempt"] == 3


def test_a_champion_whose_file_is_gone_is_not_passed_over(story: Story) -> None:
    road = road_of(story["root"])
    learned = learn(road, GROUP)
    assert list(rivals_of(road, learned)) == ["incumbent", "champion"]
    artifacts, elsewhere = road.data / "artifacts", road.data / "elsewhere"
    artifacts.rename(elsewhere)
    try:
        with pytest.raises(LookupError, match="were the registry's artifacts moved or deleted"):
            rivals_of(road, learned)
    finally:
        elsewhere.rename(artifacts)


def version_of(root: Path, version: str) -> tuple[Any, Any]:
    from mlflow.tracking import MlflowClient

    uri = road_of(root).settings.registry_uri
    client = MlflowClient(tracking_uri=uri, registry_uri=uri)
    return client, client.get_model_version(NAME, version)
