"""Real stores of strangers, all the way down the road: from one ingest call to candidates with a verdict."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from greedylr import load_preset

pytestmark = pytest.mark.public_histories

SETTINGS = """\
sources = {sources}

[groups]
min_runs = 3

[budget]
max_seeds = 5

[groups."deep-learning-experiment-sgd"]
steps = 40

[groups."granite-350m-sft-adamw"]
steps = 40

[groups."default"]
steps = 40
"""


def greedylr(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "greedylr.command_line", *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=280)


@pytest.fixture
def folder(public_stores, tmp_path: Path) -> Path:
    sources = json.dumps([str(path) for path in public_stores.values()])
    (tmp_path / "greedylr.toml").write_text(SETTINGS.format(sources=sources), encoding="utf-8")
    return tmp_path


def test_every_public_store_goes_through_one_ingest_call_and_groups_go_on_to_candidates_with_a_verdict(folder):
    ingested = greedylr(folder, "ingest")
    assert (ingested.returncode, "an empty file (0 bytes)" in ingested.stdout) == (0, True), ingested.stderr

    overview = json.loads(greedylr(folder, "runs", "--json").stdout)
    assert (overview["runs"], overview["usable"]) == (72, 18)
    assert overview["not_usable"] == {"no loss series": 34, "fewer than 10 points": 16, "no metrics": 4}

    done = greedylr(folder, "run")
    assert done.returncode == 0, done.stderr
    listed = json.loads(greedylr(folder, "presets", "list", "--json").stdout)
    registered = {row["name"]: row for row in listed if row["version"]}
    assert len(registered) >= 2
    for row in registered.values():
        assert row["aliases"] == ["candidate"]
        assert row["verdict"] in ("better", "non-inferior", "worse", "undecided")

    registry = f"sqlite:///{folder}/data/registry.db"
    with pytest.warns(UserWarning, match="not your own workload"):
        preset = load_preset("models:/greedylr-granite-350m-sft-adamw@candidate", registry_uri=registry)
    # The rate is what the logs show, far from any that the stand-in was trained with.
    assert preset.learning_rate is not None
    assert preset.learning_rate < 1e-3
    assert preset.verdict is not None
    assert not preset.verdict.own_workload
