import fnmatch
import json
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import jsonschema
import pytest

import greedylr
from greedylr import CONTROLS, Interval, Preset, Provenance, Verdict
from greedylr.lookup import bundled_presets, load_preset
from greedylr.preset_schema import SCHEMA_FILE, preset_schema, published_schema, schema_text

PACKAGE = Path(greedylr.__file__).parent
PROVED = Preset(
    name="proved",
    schedule=CONTROLS["greedy_smooth50_anneal"],
    learning_rate=0.1,
    signal="validation_loss",
    provenance=Provenance(origin="test", greedylr_version="0.1.0"),
    verdict=Verdict(
        verdict="better",
        difference=-0.05,
        interval=Interval(lower=-0.08, upper=-0.02, level=0.95),
        primary_control="cosine",
        workload="mnist-mlp",
        own_workload=True,
        seeds=10,
        attempt=2,
        cells={"better": 3},
    ),
)


def valid(document: Any) -> bool:
    return jsonschema.Draft202012Validator(published_schema()).is_valid(document)


def test_published_schema_is_the_one_that_the_dataclasses_have() -> None:
    remedy = "publish it anew: python -m greedylr.preset_schema > greedylr/preset-schema.json"
    assert (PACKAGE / SCHEMA_FILE).read_text(encoding="utf-8") == schema_text(), remedy


def test_schema_is_one_of_its_dialect() -> None:
    jsonschema.Draft202012Validator.check_schema(preset_schema())


def test_schema_and_bundled_presets_travel_with_the_package() -> None:
    project = tomllib.loads((PACKAGE.parent / "pyproject.toml").read_text(encoding="utf-8"))
    patterns = project["tool"]["setuptools"]["package-data"]["greedylr"]
    for file in (SCHEMA_FILE, *(f"presets/{name}.json" for name in bundled_presets())):
        assert any(fnmatch.fnmatch(file, pattern) for pattern in patterns), file


def test_module_prints_the_schema() -> None:
    process = subprocess.run(
        [sys.executable, "-m", "greedylr.preset_schema"], cwd=PACKAGE.parent, capture_output=True, text=True, check=True
    )
    assert process.stdout == schema_text()


@pytest.mark.parametrize("preset", [PROVED, *map(load_preset, bundled_presets())], ids=lambda preset: preset.name)
def test_presets_fit_the_schema(preset: Preset) -> None:
    assert valid(json.loads(preset.to_json()))


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("typo", 1),
        ("name", None),
        ("name", 3),
        ("schema_version", 4),
        ("learning_rate", "0.1"),
        ("signal", "loss"),
        ("schedule.envelope.shape", "triangle"),
        ("schedule.rule.factor", [0.5]),
        ("schedule.rule.typo", 1),
        ("provenance.runs", 1.5),
        ("verdict.cells", [1]),
        ("verdict.interval", {"lower": 0}),
        ("verdict.own_workload", 1),
    ],
)
def test_what_the_loader_refuses_for_its_type_does_not_fit_the_schema(path: str, value: object) -> None:
    document = json.loads(PROVED.to_json())
    *parents, last = path.split(".")
    place = document
    for name in parents:
        place = place[name]
    place[last] = value
    assert not valid(document)
    with pytest.raises(ValueError, match=r"\$"):
        Preset.from_dict(document)


@pytest.mark.parametrize("field", ["schema_version", "name", "schedule", "provenance"])
def test_what_the_loader_needs_the_schema_demands(field: str) -> None:
    document = json.loads(PROVED.to_json())
    del document[field]
    assert not valid(document)
    with pytest.raises(ValueError, match=rf"\$.{field} is missing"):
        Preset.from_dict(document)
