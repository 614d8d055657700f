"""A preset that was proved before, registered again where the registry is another."""

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import polars as pl
import pytest

from flows.registration import register_again
from flows.road import Road
from greedylr import Interval, Preset, Verdict, load_preset
from greedylr.registry import registered_presets
from pipeline.preset_registry import register
from pipeline.settings import load_settings

GROUP = "digits-sgd"
VERDICT = Verdict(
    verdict="better",
    difference=-0.05,
    interval=Interval(lower=-0.1, upper=-0.01, level=0.98),
    primary_control="incumbent",
    workload="training.py:workload",
    own_workload=True,
    seeds=20,
    attempt=3,
)


def proved(name: str) -> Preset:
    return replace(load_preset(name), verdict=VERDICT, learning_rate=0.1)


@pytest.fixture
def road(tmp_path: Path, new_repository: Callable[..., Path]) -> Road:
    """Of a repository whose warehouse holds a proof that was registered elsewhere."""
    root = new_repository(tmp_path / "repository", '[promotion]\nmode = "auto"\n')
    made = Road(settings=load_settings(root / "greedylr.toml"), root=root)
    preset = proved("robust")
    version = {
        "attempt": 3,
        "registered_name": f"greedylr-{GROUP}",
        "version": 7,
        "alias": "candidate",
        "preset_hash": preset.content_hash,
        "preset": preset.to_json(),
        "verdict": "better",
        "created_at": datetime(2025, 1, 1),
    }
    made.warehouse.finish_stage(GROUP, "prove", "the proof", {"preset_versions": pl.DataFrame([version])})
    return made


def registered(road: Road) -> list[tuple[str, tuple[str, ...], int | None]]:
    rows = registered_presets(road.settings.registry_uri)
    return [(row.version, row.aliases, row.attempt) for row in rows]


def test_it_is_promoted_as_its_verdict_and_the_settings_have_it(road: Road) -> None:
    register_again(road, GROUP, "the registration")
    assert registered(road) == [("1", ("champion",), 3)]
    (row,) = road.warehouse.frame("from preset_versions").to_dicts()
    assert (row["version"], row["alias"], row["attempt"]) == (1, "champion", 3)
    assert road.warehouse.stage_key(GROUP, "register") == "the registration"


def test_once_more_it_is_the_version_that_is_there(road: Road) -> None:
    register_again(road, GROUP, "the registration")
    register_again(road, GROUP, "the registration")
    assert registered(road) == [("1", ("champion",), 3)]


def test_a_champion_that_it_was_never_compared_with_stays(road: Road) -> None:
    uri, artifacts = road.settings.registry_uri, road.data / "artifacts"
    register(uri, proved("anneal"), GROUP, "champion", artifact_folder=artifacts, reason="better against incumbent")
    register_again(road, GROUP, "the registration")
    assert registered(road) == [("2", ("candidate",), 3), ("1", ("champion",), 3)]
