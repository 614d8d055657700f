import json
from pathlib import Path

import pytest
import torch

import greedylr
from greedylr import NamedControl, Preset, Provenance, RelativeRule, Schedule, load_schedule, write_schedule
from greedylr.schedules import NAMED_CONTROLS

PRESET = Preset(
    name="steady",
    schedule=Schedule(rule=RelativeRule(factor=0.5)),
    learning_rate=0.3,
    provenance=Provenance(origin="test", greedylr_version="0.1.0"),
)


def sgd(*rates: float) -> torch.optim.Optimizer:
    return torch.optim.SGD([{"params": [torch.nn.Parameter(torch.zeros(1))], "lr": rate} for rate in rates])


def test_file_of_a_preset_gives_the_preset(tmp_path: Path) -> None:
    path = tmp_path / "schedule.json"
    write_schedule(path, PRESET)
    loaded = load_schedule(str(path))
    assert (loaded.name, loaded.learning_rate) == ("steady", 0.3)
    scheduler = loaded.attach(sgd(0.1), 100, use_learning_rate=True)
    assert scheduler.get_last_lr() == [0.3]
    assert scheduler.controller.schedule == PRESET.schedule.resolve(100)


@pytest.mark.parametrize("name", NAMED_CONTROLS)
def test_file_of_a_control_gives_the_control(name: str, tmp_path: Path) -> None:
    path = tmp_path / "schedule.json"
    write_schedule(path, NamedControl(control=name))
    scheduler = load_schedule(path).attach(sgd(0.1), 400, steps_per_evaluation=2)
    assert scheduler.controller.schedule == NAMED_CONTROLS[name].resolve(400, steps_per_evaluation=2)
    scheduler.step(1.0)


def test_control_starts_from_the_rate_of_its_file_if_told_to(tmp_path: Path) -> None:
    path = tmp_path / "schedule.json"
    path.write_text('{"schema_version": 1, "control": "linear", "learning_rate": 0.5}')
    loaded = load_schedule(path)
    assert (loaded.name, loaded.learning_rate) == ("linear", 0.5)
    assert loaded.attach(sgd(0.1, 0.2), 10, use_learning_rate=True).get_last_lr() == [0.5, 1.0]
    assert loaded.attach(sgd(0.1, 0.2), 10).get_last_lr() == [0.1, 0.2]
    write_schedule(path, NamedControl(control="linear"))
    optimizer = sgd(0.1)
    with pytest.raises(
        ValueError, match="control 'linear' comes with no starting rate; set the optimizer's lr yourself"
    ):
        load_schedule(path).attach(optimizer, 10, use_learning_rate=True)
    assert optimizer.param_groups[0]["lr"] == 0.1


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "not valid JSON"),
        ("[]", "schedule.json cannot be read as a preset or a control"),
        ('{"control": "cosine"}', "schema_version is missing"),
        ('{"schema_version": 2, "control": "cosine"}', "needs a newer greedylr"),
        ('{"schema_version": 1, "control": "sine"}', "control must be one of 'constant', 'linear'"),
        ('{"schema_version": 1, "control": 3}', r"\$.control must be a string, got 3"),
        ('{"schema_version": 1, "control": "step", "learning_rate": 0}', "learning_rate must be > 0"),
        ('{"schema_version": 1, "control": "step", "factor": 2}', r"\$.factor is no known field"),
    ],
)
def test_file_that_is_neither_is_refused(text: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "schedule.json"
    path.write_text(text)
    with pytest.raises(ValueError, match=message):
        load_schedule(path)


def test_missing_file_and_wrong_object_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="cannot be read as a preset or a control"):
        load_schedule(tmp_path / "none.json")
    with pytest.raises(ValueError, match="must be a Preset or a NamedControl, got 'cosine'"):
        write_schedule(tmp_path / "none.json", "cosine")  # type: ignore[arg-type]


def test_written_control_holds_all_of_its_fields(tmp_path: Path) -> None:
    write_schedule(tmp_path / "s.json", NamedControl(control="cosine", learning_rate=0.1))
    written = json.loads((tmp_path / "s.json").read_text())
    assert written == {"schema_version": 1, "control": "cosine", "learning_rate": 0.1}
    assert greedylr.load_schedule is load_schedule
