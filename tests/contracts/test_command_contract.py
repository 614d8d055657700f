"""What every training command must keep; the examples of the documentation do, as a user would run them."""

import re
import sys
import tomllib
from pathlib import Path

import pytest

from greedylr.lookup import load_preset
from greedylr.preset import Preset
from greedylr.schedule_files import NamedControl
from pipeline.command_check import repetition_remark, require_contract
from pipeline.command_runs import CommandRun, CommandRunner, Wanted
from pipeline.command_store import CommandStore
from pipeline.training_command import TrainingCommand

pytestmark = pytest.mark.integration

ROOT = Path(__file__).parents[2]
EXAMPLES = sorted(path.relative_to(ROOT).as_posix() for path in ROOT.glob("docs/examples/*/train.py"))
RATES = {"plain": 0.1, "trainer": 0.01, "lightning": 0.01}


@pytest.fixture(scope="module", params=EXAMPLES)
def example(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def runner(example: str, mlflow_store_template: Path, tmp_path_factory: pytest.TempPathFactory) -> CommandRunner:
    """The runner of an example, with the settings that stand in its docstring."""
    folder = tmp_path_factory.mktemp("command")
    (folder / "runs.db").write_bytes(mlflow_store_template.read_bytes())
    documented = re.search(r'"""[^\[]*(\[groups.*?)"""', (ROOT / example).read_text(), re.DOTALL)
    assert documented is not None, example
    (keys,) = tomllib.loads(documented[1])["groups"].values()
    keys["command"] = re.sub(r"^python ", f"{sys.executable} ", keys["command"])
    return CommandRunner(
        command=TrainingCommand(template=keys["command"], metric=keys["metric"], report_metric=keys["report_metric"]),
        code="",
        root=ROOT,
        folder=folder / "jobs",
        store=CommandStore(f"sqlite:///{folder}/runs.db", "greedylr-example", folder / "artifacts"),
        timeout_s=280.0,
        rate_series=lambda names: "learning_rate" if "learning_rate" in names else None,
    )


def trained(runner: CommandRunner, example: str, schedule: Preset | NamedControl, repetition: int = 0) -> CommandRun:
    rate = RATES[Path(example).parent.name]
    return runner.run(Wanted(schedule=schedule, learning_rate=rate, seed=1, repetition=repetition))


@pytest.fixture(scope="module")
def cosine(runner: CommandRunner, example: str) -> CommandRun:
    return trained(runner, example, NamedControl(control="cosine"))


@pytest.fixture(autouse=True)
def our_library(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(ROOT))


def test_it_learns_and_logs_how_it_went(runner: CommandRunner, cosine: CommandRun) -> None:
    require_contract(runner.command, cosine)
    assert cosine.selection is not None and cosine.reporting is not None
    assert cosine.selection.count >= 3
    assert cosine.selection.steps == cosine.reporting.steps
    # Other data, another loss.
    assert cosine.selection.last != cosine.reporting.last
    assert cosine.reporting.first is not None and cosine.reporting.last is not None
    assert cosine.reporting.last < 0.6 * cosine.reporting.first


def test_its_seed_decides_everything(runner: CommandRunner, example: str, cosine: CommandRun) -> None:
    again = trained(runner, example, NamedControl(control="cosine"), repetition=1)
    assert again.run_id != cosine.run_id
    assert repetition_remark(runner.command, cosine, again) == ""


def test_a_preset_in_the_place_of_a_control_is_another_training(
    runner: CommandRunner, example: str, cosine: CommandRun
) -> None:
    preset = trained(runner, example, load_preset("robust"))
    require_contract(runner.command, preset)
    assert preset.selection is not None and cosine.selection is not None
    assert preset.selection.first == cosine.selection.first
    assert preset.selection.last != cosine.selection.last
