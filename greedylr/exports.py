"""Presets in the forms that training programs take: JSON, Python, arguments of transformers, Lightning."""

from __future__ import annotations

import json
from typing import Literal, get_args

from greedylr.export_snippets import lightning_snippet, python_snippet
from greedylr.preset import Preset
from greedylr.rule import require_choice
from greedylr.transformers_export import training_arguments

ExportFormat = Literal["json", "python", "transformers", "lightning"]


def exported(
    preset: Preset,
    export_format: ExportFormat = "json",
    *,
    learning_rate: float | None = None,
    total_steps: int | None = None,
    steps_per_evaluation: int | None = None,
    nearest: bool = False,
) -> str:
    """Return the preset as a text of one of the formats.

    Parameters
    ----------
    export_format
        "json" is the preset itself, which `load_preset` reads; it serves runs of any length. The others are for one
        run: "python" and "lightning" are programs, "transformers" is a JSON object of keyword arguments for
        `TrainingArguments`.
    learning_rate
        Starting rate of the run; by default the one that the preset recommends, if it does.
    total_steps, steps_per_evaluation
        Length of the run and steps between evaluations (default 1), in optimizer steps.
    nearest
        "transformers" only: the nearest preset that it can express.

    Raises
    ------
    ValueError
        If what the format needs is missing or what it does not take is given, if it cannot express the preset, or the
        preset cannot work in this run.
    """
    require_choice("--format", export_format, get_args(ExportFormat))
    if nearest and export_format != "transformers":
        raise ValueError(f"--nearest is for --format transformers, got {export_format}; the others express any preset")
    if export_format == "json":
        if (learning_rate, total_steps, steps_per_evaluation) != (None, None, None):
            raise ValueError(
                "--learning-rate, --total-steps and --steps-per-evaluation are for the formats of one run, got them "
                "with json, which serves any run; leave them out or choose another --format"
            )
        return preset.to_json()
    if total_steps is None:
        raise ValueError(f"--total-steps must be given for --format {export_format}; it is for one length of run")
    if learning_rate is None:
        learning_rate = preset.learning_rate
    if learning_rate is None:
        raise ValueError(
            f"--learning-rate must be given for --format {export_format}: preset {preset.name!r} recommends none"
        )
    steps_per_evaluation = 1 if steps_per_evaluation is None else steps_per_evaluation
    if export_format == "transformers":
        arguments = training_arguments(
            preset, learning_rate, total_steps, steps_per_evaluation=steps_per_evaluation, nearest=nearest
        )
        return json.dumps(arguments, indent=2, allow_nan=False) + "\n"
    resolved = preset.resolve(learning_rate, total_steps, steps_per_evaluation=steps_per_evaluation)
    return (python_snippet if export_format == "python" else lightning_snippet)(preset, resolved)
