"""The programs that `greedylr presets export` writes, run as they are."""

import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from greedylr import Probe, Rollback
from greedylr.exports import ExportFormat, exported
from greedylr.lookup import load_preset
from greedylr.preset import Preset, Signal

CORE = load_preset("core")
ROOT = Path(__file__).parents[2]


def output_of(text: str, folder: Path) -> str:
    """What the program prints; warnings are errors of its own making."""
    (folder / "train.py").write_text(text, encoding="utf-8")
    process = subprocess.run(
        [sys.executable, "train.py"],
        cwd=folder,
        env={"PYTHONPATH": str(ROOT), "PATH": "", "OMP_NUM_THREADS": "1", "HOME": str(folder)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert process.returncode == 0, process.stderr
    return process.stdout


def program(preset: Preset, export_format: ExportFormat, steps_per_evaluation: int) -> str:
    return exported(
        preset, export_format, learning_rate=0.05, total_steps=120, steps_per_evaluation=steps_per_evaluation
    )


@pytest.mark.integration
@pytest.mark.parametrize(
    ("signal", "steps_per_evaluation"), [("training_loss", 1), ("training_loss", 3), ("validation_loss", 3)]
)
def test_python_program_trains_with_the_preset(tmp_path: Path, signal: Signal, steps_per_evaluation: int) -> None:
    printed = output_of(program(replace(CORE, signal=signal), "python", steps_per_evaluation), tmp_path)
    match = re.fullmatch(r"loss (\S+), rate (\S+)\n", printed)
    assert match is not None, printed
    # The loss of the untrained stand-in is about 5; the rate has moved from 0.05 and stays within its bounds.
    assert float(match[1]) < 0.1
    assert float(match[2]) != 0.05
    assert 0.0005 <= float(match[2]) <= 0.5


def restoring() -> Preset:
    probe = Probe(share=0.1, lowest=0.1, highest=100.0)
    return replace(CORE, schedule=replace(CORE.schedule, probe=probe, rollback=Rollback()))


@pytest.mark.integration
def test_python_program_trains_with_probe_and_rollback(tmp_path: Path) -> None:
    text = program(restoring(), "python", 1)
    assert "def scheduler_for(optimizer, model):" in text
    match = re.fullmatch(r"loss (\S+), rate (\S+)\n", output_of(text, tmp_path))
    assert match is not None
    assert float(match[1]) < 0.1


@pytest.mark.integration
def test_lightning_program_trains_with_probe_and_rollback(tmp_path: Path) -> None:
    match = re.search(r"rate (\S+) after 120 steps", output_of(program(restoring(), "lightning", 1), tmp_path))
    assert match is not None
    assert float(match[1]) != 0.05


@pytest.mark.integration
@pytest.mark.parametrize("steps_per_evaluation", [1, 3])
def test_lightning_program_trains_with_the_preset(tmp_path: Path, steps_per_evaluation: int) -> None:
    printed = output_of(program(CORE, "lightning", steps_per_evaluation), tmp_path)
    match = re.search(r"rate (\S+) after 120 steps", printed)
    assert match is not None, printed
    assert float(match[1]) != 0.05
    assert 0.0005 <= float(match[1]) <= 0.5
