import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rich.console import Console

from flows.workload_catalogue import optimizer_in_words, workload_page_table, workload_table
from greedylr.workload import WorkloadDescriptors
from models.workloads.reference import REFERENCES


def described(**changes: Any) -> WorkloadDescriptors:
    return WorkloadDescriptors(name="n", family="f", total_steps=9, batch_size=1, usual_learning_rate=1, **changes)


def test_optimizers_are_told_with_what_is_not_usual() -> None:
    assert optimizer_in_words(described(momentum=0.0)) == "SGD, no momentum"
    assert optimizer_in_words(described(nesterov=True, max_gradient_norm=1.0)) == "SGD, Nesterov 0.9, clipped at 1"
    assert optimizer_in_words(described(optimizer="adam")) == "Adam"
    assert (
        optimizer_in_words(described(optimizer="adamw", beta2=0.95, weight_decay=0.1)) == "AdamW, beta2 0.95, decay 0.1"
    )


def test_page_of_workloads_is_made_from_the_code() -> None:
    page = (Path(__file__).parents[2] / "docs/workloads.md").read_text(encoding="utf-8")
    assert workload_page_table() in page


def test_names_and_numbers_are_whole_on_a_narrow_terminal() -> None:
    console = Console(width=80, record=True)
    with console.capture() as captured:
        console.print(workload_table())
    lines = captured.get().splitlines()
    for name, reference in REFERENCES.items():
        line = next(line for line in lines if line.startswith(f"  {name} "))
        assert f" {reference.descriptors.total_steps} " in line
        assert f" {reference.parameters:,} " in line


def test_workloads_are_listed_as_json(greedylr: Callable[..., Any], tmp_path: Path) -> None:
    ended = greedylr(tmp_path, "workloads", "--json")
    assert (ended.status, ended.err) == (0, "")
    rows = {row["workload"]: row for row in json.loads(ended.out)}
    assert list(rows) == list(REFERENCES)
    assert rows["mnist-cnn"] == {
        "workload": "mnist-cnn",
        "family": "mnist-digits",
        "task": "image classification",
        "optimizer": "SGD, Nesterov 0.9",
        "steps": 300,
        "batch": 16,
        "parameters": 1954,
        "rate": 0.1,
        "size": "small",
        "dataset": "mnist_digits",
        "pooled": True,
    }
    assert [name for name, row in rows.items() if not row["pooled"]] == ["noisy-quadratic"]


def test_workloads_are_listed_for_people(greedylr: Callable[..., Any], tmp_path: Path) -> None:
    ended = greedylr(tmp_path, "workloads")
    assert (ended.status, ended.err) == (0, "")
    line = next(line for line in ended.out.splitlines() if line.split()[:1] == ["wine-mlp"])
    assert line.split() == ["wine-mlp", "multiclass", "classification", "Adam", "200", "275", "small"]
