"""The reference workloads as a table: for the terminal, as JSON, and for `docs/workloads.md`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.table import Table
from rich.text import Text

from greedylr.workload import WorkloadDescriptors
from models.workloads.reference import REFERENCES

COLUMNS = ("workload", "family", "task", "optimizer", "steps", "batch", "parameters", "rate", "size")
NARROW_COLUMNS = ("workload", "task", "optimizer", "steps", "parameters", "size")
NUMBERS = ("steps", "batch", "parameters", "rate")


def workload_facts() -> list[dict[str, Any]]:
    """Return what is known of each reference workload before it is made, as plain values."""
    return [
        {
            "workload": reference.descriptors.name,
            "family": reference.descriptors.family,
            "task": reference.descriptors.task,
            "optimizer": optimizer_in_words(reference.descriptors),
            "steps": reference.descriptors.total_steps,
            "batch": reference.descriptors.batch_size,
            "parameters": reference.parameters,
            "rate": reference.descriptors.usual_learning_rate,
            "size": reference.size,
            "dataset": reference.dataset,
            "pooled": reference.pooled,
        }
        for reference in REFERENCES.values()
    ]


def optimizer_in_words(descriptors: WorkloadDescriptors) -> str:
    """Return an optimizer and those of its settings that are not usual: "SGD, Nesterov 0.9, clipped at 1"."""
    if descriptors.optimizer == "sgd":
        momentum = f"{'Nesterov' if descriptors.nesterov else 'momentum'} {descriptors.momentum:g}"
        parts = ["SGD", momentum if descriptors.momentum else "no momentum"]
    else:
        parts = [{"adam": "Adam", "adamw": "AdamW"}[descriptors.optimizer]]
        usual = {field: WorkloadDescriptors.__dataclass_fields__[field].default for field in ("beta1", "beta2")}
        said = {name: getattr(descriptors, name) for name in usual}
        parts += [f"{name} {value:g}" for name, value in said.items() if value != usual[name]]
    if descriptors.weight_decay:
        parts.append(f"decay {descriptors.weight_decay:g}")
    if descriptors.max_gradient_norm is not None:
        parts.append(f"clipped at {descriptors.max_gradient_norm:g}")
    return ", ".join(parts)


def workload_table() -> Table:
    """Return the workloads for the terminal, one row each under their family, narrow enough for 80 columns."""
    table = Table(header_style="dim", box=None, pad_edge=False)
    for column in NARROW_COLUMNS:
        is_number = column in NUMBERS
        table.add_column(
            column,
            justify="right" if is_number else "left",
            no_wrap=is_number or column == "workload",
            overflow="fold",
        )
    facts = workload_facts()
    for family in dict.fromkeys(one["family"] for one in facts):
        table.add_row(Text(family, style="bold"))
        for one in facts:
            if one["family"] == family:
                name, *others = _texts(one, NARROW_COLUMNS)
                table.add_row(Text(f"  {name}"), *map(Text, others))
    return table


def workload_page_table() -> str:
    """Return the workloads as a table in Markdown, one line each."""
    rows = [f"| {' | '.join(_texts(facts, COLUMNS))} |" for facts in workload_facts()]
    marks = ("---:" if column in NUMBERS else "---" for column in COLUMNS)
    return "\n".join([f"| {' | '.join(COLUMNS)} |", f"|{'|'.join(marks)}|", *rows]) + "\n"


def _texts(facts: Mapping[str, Any], columns: Sequence[str]) -> list[str]:
    shown = {**facts, "parameters": f"{facts['parameters']:,}", "rate": f"{facts['rate']:g}"}
    if not facts["pooled"]:
        shown["size"] = f"{facts['size']}, not pooled"
    return [str(shown[column]) for column in columns]
