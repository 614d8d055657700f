import json
from collections.abc import Callable
from pathlib import Path

import pytest

from greedylr.command_line import main

Run = Callable[..., tuple[int, str, str]]
RUN = ("--learning-rate", "0.1", "--total-steps", "4000")


@pytest.fixture
def export(capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run `greedylr presets export core`: exit status, standard output, standard error."""
    monkeypatch.chdir(tmp_path)

    def call(*options: str) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as ended:
            main(["presets", "export", "core", "--output", "-", *options])
        captured = capsys.readouterr()
        return int(ended.value.code or 0), captured.out, captured.err

    return call


def test_programs_are_exported_for_one_run(export: Run) -> None:
    for name, imported in (("python", "import torch"), ("lightning", "from lightning.pytorch import")):
        status, text, _ = export("--format", name, *RUN, "--steps-per-evaluation", "10")
        assert status == 0
        assert imported in text
        assert "LEARNING_RATE = 0.1\nTOTAL_STEPS = 4000\nSTEPS_PER_EVALUATION = 10\n" in text


def test_what_transformers_cannot_express_is_refused_with_the_way_out(export: Run) -> None:
    status, text, errors = export("--format", "transformers", *RUN)
    assert (status, text) == (2, "")
    assert "Error: transformers cannot express preset 'core': signal training_loss: Trainer steps on" in errors
    assert "increase_factor: raises and lowers by one factor; --nearest" in errors


def test_nearest_preset_is_exported_with_a_warning(export: Run) -> None:
    status, text, errors = export("--format", "transformers", *RUN, "--nearest")
    assert status == 0
    assert json.loads(text)["lr_scheduler_type"] == "greedy"
    assert errors.startswith("Warning: the nearest preset to 'core', of which nothing is proved; lost: signal")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--format", "python", "--total-steps", "100"], "--learning-rate must be given for --format python"),
        (["--format", "lightning", "--learning-rate", "1"], "--total-steps must be given for --format lightning"),
        (["--format", "json", *RUN], "got them with json, which serves any run"),
        (["--format", "python", "--nearest", *RUN], "--nearest is for --format transformers, got python"),
        (["--format", "python", *RUN, "--steps-per-evaluation", "1000"], "at this cadence (one evaluation in 1000 st"),
        (["--format", "xml"], "'xml' is not one of"),
    ],
)
def test_export_that_cannot_be_is_the_users_mistake(export: Run, options: list[str], message: str) -> None:
    status, text, errors = export(*options)
    assert (status, text) == (2, "")
    assert message in errors
