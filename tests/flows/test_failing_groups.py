"""One refresh in which most groups fail, each in another way, and one without a workload is proved on a stand-in."""

import os
import signal
import subprocess
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from flows.road import Road, learn
from greedylr import Preset, load_preset
from greedylr.registry import registered_presets
from pipeline.settings import load_settings

FAILING = {
    "clashing": 'workload = "random:workload"',
    "diverging": 'workload = "diverging.py:workload"',
    "hanging": 'workload = "hanging.py:workload"\ntimeout_minutes = 0.05',
    "missing": 'workload = "trainings:workload"',
    "none": 'workload = "none.py:workload"',
    "raising": 'workload = "research.raising:workload"',
    "unknown": 'workload = "reference:no-such-workload"',
}
SETTINGS = "\n".join(
    [
        *(f'[groups."{name}-sgd"]\n{lines}\n' for name, lines in FAILING.items()),
        '[groups."digits-sgd"]\nsteps = 40\n',
        '[groups."digits-adam"]\nsteps = 40\n',
        '[budget]\nmax_seeds = 5\n\n[promotion]\nmode = "auto"\n',
    ]
)
HISTORY = [("cosine", 0.003), ("cosine", 0.01), ("cosine", 0.03), ("constant", 0.1), ("linear", 0.1), ("step", 1.0)]

Story = dict[str, Any]


@pytest.fixture(scope="module")
def story(
    tmp_path_factory: pytest.TempPathFactory,
    new_repository: Callable[..., Path],
    log_history: Callable[..., None],
    greedylr: Callable[..., Any],
) -> Story:
    root = new_repository(tmp_path_factory.mktemp("users") / "repository", SETTINGS)
    training = (root / "training.py").read_text()
    (root / "random.py").write_text(training)
    (root / "diverging.py").write_text(training.replace("square().mean()", "square().mean() * 1e30"))
    (root / "hanging.py").write_text("import time\ndef workload(seed, device):\n    time.sleep(600)\n")
    (root / "none.py").write_text("def workload(seed, device):\n    pass\n")
    (root / "research").mkdir()
    (root / "research" / "raising.py").write_text(
        "from models.network import initial\n"
        "def workload(seed, device):\n"
        "    raise KeyError(f'no weight among {sorted(initial(seed))}')\n"
    )
    for name in ("digits", *FAILING):
        log_history(root / "mlflow.db", name, HISTORY)
    log_history(root / "mlflow.db", "few", HISTORY[:3])
    # From another folder: modules are looked for beside the settings.
    ended = greedylr(root.parent, "run", "--config", "repository/greedylr.toml")
    road = Road(settings=load_settings(root / "greedylr.toml"), root=root)
    errors = [line for line in ended.err.splitlines() if line.startswith("Error: ")]
    return {"root": root, "road": road, "ended": ended, "errors": errors}


def error_of(story: Story, name: str) -> str:
    start = f"Error: group {name}-sgd failed: "
    (line,) = [line for line in story["errors"] if line.startswith(start)]
    return str(line.removeprefix(start))


def test_failures_are_told_one_by_one_and_end_in_status_1(story: Story) -> None:
    assert story["ended"].status == 1
    assert len(story["errors"]) == len(FAILING)
    assert "Traceback" not in story["ended"].err + story["ended"].out


def test_a_settings_table_of_a_group_that_does_not_exist_is_noticed(story: Story) -> None:
    assert (
        "Warning: the settings name a group digits-adam, which has no usable run; there are clashing-sgd, digits-sgd, "
        in story["ended"].err
    )


def test_a_training_that_raises_is_shown_with_its_own_line(story: Story) -> None:
    assert error_of(story, "raising") == "research.raising:workload raised KeyError: \"no weight among ['b', 'w']\""
    assert "raising.py:3 in workload: raise KeyError" in story["ended"].err


def test_a_training_that_hangs_is_given_up(story: Story) -> None:
    assert "hanging.py:workload was to be done within 3 s and was killed after that" in error_of(story, "hanging")


def test_a_training_that_diverges_at_every_rate_is_told_to_lower_its_rate(story: Story) -> None:
    message = error_of(story, "diverging")
    # Nine rates around the recommended one and three half decades below.
    assert message.startswith("training must survive at some rate, but cosine diverged at every one tried, ")
    assert message.endswith(
        "lower the usual_learning_rate of the workload, or the learning_rate in the group's settings"
    )


def test_a_factory_that_returns_no_workload_is_told_what_one_is(story: Story) -> None:
    assert "must return a greedylr.workload.Workload, got NoneType, which lacks descriptors" in error_of(story, "none")


def test_a_module_that_is_missing_is_named_with_where_it_was_looked_for(story: Story) -> None:
    assert error_of(story, "missing") == (
        f"the workload's module must exist in {story['root']} or be installed, got 'trainings' for group missing-sgd"
    )


def test_a_module_with_the_name_of_one_that_is_loaded_is_a_clash(story: Story) -> None:
    assert "has the name of one that Python has loaded already" in error_of(story, "clashing")


def test_a_reference_workload_that_does_not_exist_is_told_which_do(story: Story) -> None:
    assert error_of(story, "unknown") == (
        "the workload of group unknown-sgd must be one that `greedylr workloads` lists or your own factory, "
        "got 'reference:no-such-workload'"
    )


def test_a_group_with_too_few_runs_is_given_the_bundled_presets(story: Story) -> None:
    line = next(line for line in story["ended"].out.splitlines() if line.startswith("few-sgd"))
    assert line.split(maxsplit=1)[1].strip() == (
        "too few runs  3 usable runs, fewer than 6: use a bundled preset (anneal, core, robust)"
    )


def test_nothing_of_a_failed_group_is_written(story: Story) -> None:
    for table in ("preset_versions", "cells", "retrainings", "candidates"):
        groups = story["road"].warehouse.frame(f"select distinct group_name from {table}")["group_name"].to_list()
        assert groups == ["digits-sgd"], table
    assert [row.name for row in registered_presets(story["road"].settings.registry_uri)] == ["greedylr-digits-sgd"]


def test_the_other_groups_go_on_and_one_without_a_workload_is_proved_on_a_reference(story: Story) -> None:
    (version,) = story["road"].warehouse.frame("from preset_versions").to_dicts()
    preset = Preset.from_json(version["preset"])
    assert preset.verdict is not None
    assert (preset.verdict.own_workload, preset.verdict.workload) == (False, "breast-cancer-logistic")
    assert preset.verdict.primary_control == "cosine"
    assert (
        f"on the stand-in breast-cancer-logistic, models:/{version['registered_name']}@candidate\n"
        in story["ended"].out
    )


def test_a_preset_proved_on_a_stand_in_is_never_champion(story: Story) -> None:
    (row,) = registered_presets(story["road"].settings.registry_uri)
    assert (row.aliases, row.own_workload) == (("candidate",), False)


def test_loading_it_warns(story: Story) -> None:
    uri = story["road"].settings.registry_uri
    with pytest.warns(
        UserWarning, match="is a candidate: .* on breast-cancer-logistic, which is not your own workload"
    ):
        load_preset("models:/greedylr-digits-sgd@candidate", registry_uri=uri)


def test_its_rate_is_what_the_logs_recommend_and_not_the_stand_ins(story: Story) -> None:
    statistics = learn(story["road"], "digits-sgd").statistics
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        preset = load_preset("models:/greedylr-digits-sgd@candidate", registry_uri=story["road"].settings.registry_uri)
    assert preset.learning_rate is not None
    assert preset.learning_rate == (statistics.recommended_rate or statistics.usual_rate)
    assert 0.01 <= preset.learning_rate <= 0.1


def test_no_rivals_are_met_on_a_stand_in(story: Story) -> None:
    controls = story["road"].warehouse.frame("select distinct control from cells")["control"].to_list()
    assert len(controls) == 14
    assert not {"incumbent", "champion"} & set(controls)


def test_ctrl_c_ends_in_one_line_and_takes_the_training_along(
    tmp_path: Path, new_repository: Callable[..., Path], log_history: Callable[..., None]
) -> None:
    root = new_repository(tmp_path / "repository", '[groups."hanging-sgd"]\nworkload = "hanging.py:workload"\n')
    (root / "hanging.py").write_text(
        "import os, pathlib, time\n"
        "def workload(seed, device):\n"
        "    pathlib.Path('pid.partial').write_text(str(os.getpid()))\n"
        "    pathlib.Path('pid.partial').rename('pid')\n"
        "    time.sleep(600)\n"
    )
    log_history(root / "mlflow.db", "hanging", HISTORY)
    command = [str(Path(sys.executable).with_name("greedylr")), "run"]
    process = subprocess.Popen(command, cwd=root, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    while not (root / "pid").is_file():
        assert process.poll() is None, process.communicate()[1]
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (1, "")
    assert err.splitlines()[1:] == ["interrupted: what was finished is kept, and the same command goes on from there"]
    with pytest.raises(ProcessLookupError):
        os.kill(int((root / "pid").read_text()), 0)
