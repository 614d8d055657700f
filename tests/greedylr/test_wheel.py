"""The wheel as a user gets it: built from a whole checkout, installed where nothing of the pipeline is."""

import json
import os
import shutil
import subprocess
import sys
import zipfile
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

import pytest
from packaging.requirements import Requirement

import greedylr
from greedylr import load_preset
from greedylr.command_line import PIPELINE_COMMANDS

pytestmark = pytest.mark.integration

ROOT = Path(greedylr.__file__).parent.parent
SOURCES = ("greedylr", "features", "models", "pipeline", "flows", "pyproject.toml", "README.md", "LICENSE")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of a copy of the checkout, so that no build folder is left in it."""
    checkout, output = tmp_path_factory.mktemp("checkout"), tmp_path_factory.mktemp("wheel")
    for name in SOURCES:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, checkout / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(ROOT / name, checkout)
    command = ["pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "--wheel-dir", str(output), "."]
    subprocess.run([sys.executable, "-m", *command], cwd=checkout, check=True, capture_output=True)
    (path,) = output.iterdir()
    return path


@pytest.fixture(scope="module")
def python(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A fresh environment with the wheel, its requirements and torch, and nothing else."""
    environment = tmp_path_factory.mktemp("environment") / "venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(environment)], check=True)
    python = environment / "bin" / "python"
    (packages,) = (environment / "lib").glob("python*/site-packages")
    install = ["pip", "--python", str(python), "install", "--quiet", "--no-deps", "--no-index", str(wheel)]
    subprocess.run([sys.executable, "-m", *install], check=True, capture_output=True)
    for name in closure("typer", "rich", "torch"):
        link(name, packages)
    return python


def closure(*names: str) -> set[str]:
    """The distributions that these need, themselves included, as far as they are installed here."""
    found: set[str] = set()
    waiting = list(names)
    while waiting:
        name = waiting.pop().lower()
        if name in found:
            continue
        try:
            requirements = distribution(name).requires or []
        except PackageNotFoundError:
            continue
        found.add(name)
        for text in requirements:
            requirement = Requirement(text)
            if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
                waiting.append(requirement.name)
    return found


def link(name: str, packages: Path) -> None:
    """Put what a distribution consists of into another environment."""
    found = distribution(name)
    for top in {file.parts[0] for file in found.files or () if ".." not in file.parts}:
        if top != "__pycache__" and not (packages / top).exists():
            (packages / top).symlink_to(Path(str(found.locate_file(top))))


def run(python: Path, folder: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    outside = {"PATH": os.defpath, "HOME": str(folder), "GREEDYLR_CACHE": str(folder / "cache")}
    return subprocess.run(
        [python, *arguments], cwd=folder, env=outside, capture_output=True, text=True, check=False, timeout=120
    )


def test_the_wheel_holds_the_library_alone_and_all_of_it(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as file:
        names = {name for name in file.namelist() if ".dist-info/" not in name}
    ours = {
        path.relative_to(ROOT).as_posix()
        for path in (ROOT / "greedylr").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert names == ours
    assert {"greedylr/py.typed", "greedylr/presets/robust.json"} <= names


def test_the_environment_has_nothing_of_the_pipeline(python: Path, tmp_path: Path) -> None:
    code = "import importlib.util as u; print([m for m in {!r} if u.find_spec(m)])"
    absent = ["mlflow", "numpy", "polars", "duckdb", "prefect", "flows", "models", "features", "pipeline"]
    assert run(python, tmp_path, "-c", code.format(absent)).stdout == "[]\n"
    where = run(python, tmp_path, "-c", "import greedylr; print(greedylr.__file__)").stdout
    assert Path(where.strip()).is_relative_to(python.parents[1])


TRAINING = """
import torch
from greedylr import load_preset, suggest_preset

weight = torch.nn.Parameter(torch.ones(()))
optimizer = torch.optim.SGD([weight], lr=0.01)
preset = load_preset(suggest_preset(optimizer="sgd").address)
scheduler = preset.scheduler(optimizer, total_steps=400)
for _ in range(400):
    optimizer.zero_grad()
    loss = weight.square()
    loss.backward()
    optimizer.step()
    scheduler.step(loss)
print(preset.name, abs(weight.item()) < 0.01)
"""


def test_a_training_runs_with_a_suggested_preset(python: Path, tmp_path: Path) -> None:
    ended = run(python, tmp_path, "-c", TRAINING)
    assert (ended.returncode, ended.stdout) == (0, "robust True\n")


def test_the_preset_commands_run(python: Path, tmp_path: Path) -> None:
    command = str(python.parent / "greedylr")
    listed = run(python, tmp_path, command, "presets", "list", "--json")
    assert [row["name"] for row in json.loads(listed.stdout)] == ["anneal", "core", "robust"]
    shown = run(python, tmp_path, command, "presets", "show", "robust", "--json")
    assert json.loads(shown.stdout)["content_hash"] == load_preset("robust").content_hash
    assert run(python, tmp_path, command, "presets", "export", "core", "--output", "core.json").returncode == 0
    assert load_preset(tmp_path / "core.json") == load_preset("core")
    suggested = run(python, tmp_path, command, "presets", "suggest", "--optimizer", "adamw", "--json")
    assert json.loads(suggested.stdout)[0]["address"] == "robust"


def test_a_registered_preset_says_what_it_needs(python: Path, tmp_path: Path) -> None:
    command = str(python.parent / "greedylr")
    ended = run(python, tmp_path, command, "presets", "show", "models:/a@champion", "--registry", "http://host:5000")
    assert (ended.returncode, ended.stdout) == (2, "")
    assert ended.stderr.startswith(
        "Error: the registry needs mlflow, which is not installed: pip install mlflow-skinny for a server over HTTP"
    )
    assert len(ended.stderr.splitlines()) == 1


@pytest.mark.parametrize("name", PIPELINE_COMMANDS)
def test_a_pipeline_command_says_how_to_get_the_pipeline_and_runs_no_flows_of_the_users(
    python: Path, tmp_path: Path, name: str
) -> None:
    (tmp_path / "flows").mkdir()
    for file in ("__init__.py", "cli.py"):
        (tmp_path / "flows" / file).write_text("raise SystemExit('the flows of the user was run')")
    (tmp_path / "pyproject.toml").write_text('[project]\nname = "greedylr"\n')
    for arguments in ([str(python.parent / "greedylr")], ["-m", "greedylr.command_line"]):
        ended = run(python, tmp_path, *arguments, name, "--reason", "text", "word")
        assert (ended.returncode, ended.stdout) == (2, "")
        assert ended.stderr == (
            f"Error: `greedylr {name}` is part of the pipeline, which is not in the installed package: get a checkout "
            "of greedylr and run `make install` there\n"
        )
