import json
from dataclasses import replace
from typing import Any

import pytest

from greedylr import Preset, load_preset
from greedylr.preset_migrations import MIGRATIONS, SCHEMA_VERSION, to_present_schema

# A made-up past: version 1 called the rate lr, version 2 kept the window outside its rule.
OLD: dict[str, Any] = {"schema_version": 1, "lr": 0.1, "window": 5, "rule": {"factor": 0.5}}


def renamed(document: dict[str, Any]) -> dict[str, Any]:
    document["learning_rate"] = document.pop("lr")
    return document


def moved(document: dict[str, Any]) -> dict[str, Any]:
    document["rule"]["window"] = document.pop("window")
    return document


PAST = {1: renamed, 2: moved}


def test_document_of_an_old_version_is_brought_to_the_present_one() -> None:
    assert to_present_schema(OLD, present=3, migrations=PAST) == {
        "schema_version": 3,
        "learning_rate": 0.1,
        "rule": {"factor": 0.5, "window": 5},
    }


def test_document_that_is_migrated_stays_as_it_was() -> None:
    before = json.dumps(OLD)
    to_present_schema(OLD, present=3, migrations=PAST)
    assert json.dumps(OLD) == before


def test_document_in_between_takes_the_later_steps_only() -> None:
    document = {"schema_version": 2, "learning_rate": 0.1, "window": 5, "rule": {}}
    assert to_present_schema(document, present=3, migrations=PAST) == {
        "schema_version": 3,
        "learning_rate": 0.1,
        "rule": {"window": 5},
    }


def test_preset_of_version_1_has_neither_probe_nor_rollback_nor_a_described_training() -> None:
    present = json.loads(load_preset("core").to_json())
    schedule = {name: value for name, value in present["schedule"].items() if name not in ("probe", "rollback")}
    later = ("optimizer", "task", "parameters", "batch_size")
    provenance = {name: value for name, value in present["provenance"].items() if name not in later}
    old = {**present, "schema_version": 1, "schedule": schedule, "provenance": provenance}
    assert Preset.from_dict(old) == load_preset("core")
    # Known by the same name as before.
    assert Preset.from_dict(old).content_hash == "4b4400492dbc997d"
    with pytest.raises(ValueError, match=r"\$.schedule.probe is no known field of schema version 1; it came with"):
        Preset.from_dict({**old, "schedule": {**schedule, "probe": None}})
    with pytest.raises(ValueError, match=r"\$.provenance.task is no known field of schema version 1; it came with"):
        Preset.from_dict({**old, "provenance": {**provenance, "task": ""}})
    with pytest.raises(ValueError, match=r"\$ is no preset of schema version 1, as its schema_version says"):
        Preset.from_dict({**old, "schedule": 3})


def test_verdict_of_version_2_had_a_tuned_control_and_chose_on_other_data_than_it_reported() -> None:
    interval = {"lower": -0.08, "upper": -0.02, "level": 0.95}
    verdict = {"verdict": "better", "difference": -0.05, "interval": interval, "margin": 0.02, "seeds": 5, "attempt": 1}
    verdict |= {"primary_control": "cosine", "workload": "digits", "own_workload": True}
    old = {**json.loads(load_preset("core").to_json()), "schema_version": 2, "verdict": verdict}
    read = Preset.from_dict(old).verdict
    assert read is not None
    assert (read.control_tuned, read.selection) == (True, "apart")
    with pytest.raises(ValueError, match=r"\$.verdict.selection is no known field of schema version 2; it came with"):
        Preset.from_dict({**old, "verdict": {**verdict, "selection": "report"}})


def test_preset_in_memory_is_of_the_present_version() -> None:
    with pytest.raises(ValueError, match="schema_version of a preset in memory must be 3, got 1; read an older"):
        replace(load_preset("core"), schema_version=1)


def test_document_of_the_present_version_is_taken_as_it_is() -> None:
    assert to_present_schema({"schema_version": SCHEMA_VERSION, "x": 1}) == {"schema_version": SCHEMA_VERSION, "x": 1}


def test_every_version_before_the_present_one_has_its_migration() -> None:
    assert sorted(MIGRATIONS) == list(range(1, SCHEMA_VERSION))


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ({}, r"\$.schema_version is missing; this is no GreedyLR preset"),
        ({"schema_version": 4}, r"\$.schema_version must be between 1 and 3, got 4; a preset of a newer schema needs"),
        ({"schema_version": 0}, r"\$.schema_version must be between 1 and 3, got 0"),
        ({"schema_version": 2.0}, r"\$.schema_version must be between 1 and 3, got 2.0"),
        ({"schema_version": True}, r"\$.schema_version must be between 1 and 3, got True"),
        ({"schema_version": [1]}, r"\$.schema_version must be between 1 and 3, got \[1\]"),
        ({"schema_version": 1}, r"\$ is no preset of schema version 1, as its schema_version says: KeyError 'lr'"),
        ({"schema_version": 2, "rule": None, "window": 1}, r"\$ is no preset of schema version 2, .*: TypeError"),
    ],
)
def test_document_that_is_not_of_its_version_is_refused(document: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        to_present_schema(document, present=3, migrations=PAST)


def test_gap_between_the_versions_is_refused() -> None:
    with pytest.raises(ValueError, match=r"\$.schema_version is 1, from which no migration leads to 2"):
        to_present_schema({"schema_version": 1}, present=3, migrations={2: moved})
