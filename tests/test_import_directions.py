"""Who may import whom; a failure names the file, the line and the rule."""

import ast
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

# Modules of the standard library that open files or databases.
FILES = frozenset({"dbm", "fileinput", "glob", "io", "os", "pathlib", "shelve", "shutil", "sqlite3", "tempfile"})


@dataclass(frozen=True, kw_only=True)
class Rule:
    """What the files of a folder may import besides the standard library and their own folder."""

    ours: frozenset[str] = frozenset({"greedylr"})
    others: frozenset[str] = frozenset()
    others_when_called: frozenset[str] = frozenset()  # inside functions and under TYPE_CHECKING only
    not_even: frozenset[str] = frozenset()  # of the standard library
    others_of_file: dict[str, frozenset[str]] = field(default_factory=dict)


RULES = {
    "greedylr": Rule(
        ours=frozenset(),
        # MLflow brings the last two along, and says with their classes what is wrong with a database.
        others_when_called=frozenset({"torch", "mlflow", "alembic", "sqlalchemy"}),
        others_of_file={
            "greedylr/command_line.py": frozenset({"typer", "rich"}),
            "greedylr/huggingface.py": frozenset({"transformers"}),
            "greedylr/lightning.py": frozenset({"lightning"}),
        },
    ),
    "features": Rule(others=frozenset({"polars"}), not_even=FILES),
    "models": Rule(others=frozenset({"torch", "sklearn", "numpy", "scipy"}), not_even=frozenset({"sqlite3", "dbm"})),
    "pipeline": Rule(
        others=frozenset(
            {
                "adbc_driver_manager",
                "adbc_driver_postgresql",
                "adbc_driver_sqlite",
                "duckdb",
                "matplotlib",
                "mlflow",
                "numpy",
                "polars",
            }
            | {"pyarrow", "pydantic", "pydantic_core", "requests", "urllib3", "yaml"}
        ),
        # Its data sets alone: what learns stays in `models`.
        others_of_file={"pipeline/table_datasets.py": frozenset({"sklearn"})},
    ),
    "flows": Rule(
        ours=frozenset({"greedylr", "features", "models", "pipeline"}),
        others=frozenset({"numpy", "polars", "prefect", "rich", "typer"}),
        not_even=frozenset({"sqlite3"}),
    ),
}


def imports(tree: ast.Module) -> Iterator[tuple[str, int, bool]]:
    """Each imported module with its line, and whether importing the file imports it."""

    def walk(node: ast.AST, at_import: bool) -> Iterator[tuple[str, int, bool]]:
        match node:
            case ast.Import(names=names):
                yield from ((name.name, node.lineno, at_import) for name in names)
            case ast.ImportFrom(module=str(module), level=0):
                yield module, node.lineno, at_import
            case ast.Call(
                func=ast.Name("__import__" | "import_module") | ast.Attribute(attr="import_module"),
                args=[ast.Constant(str(name)), *_],
            ):
                yield name, node.lineno, at_import
        inner = at_import and not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            for child in node.body:
                yield from walk(child, False)
            for child in node.orelse:
                yield from walk(child, inner)
            return
        for child in ast.iter_child_nodes(node):
            yield from walk(child, inner)

    yield from walk(tree, True)


def offences(root: Path) -> list[str]:
    """One line for each import that a rule forbids."""
    found = []
    for folder, rule in RULES.items():
        for path in sorted((root / folder).rglob("*.py")):
            file = path.relative_to(root).as_posix()
            for module, line, at_import in imports(ast.parse(path.read_text(encoding="utf-8"))):
                reason = forbidden(folder, rule, file, module.partition(".")[0], at_import)
                if reason:
                    found.append(f"{file}:{line} imports {module}: {reason}")
    return found


def forbidden(folder: str, rule: Rule, file: str, package: str, at_import: bool) -> str | None:
    """Why the folder may not import the package there, or None."""
    if package == folder or package in rule.others | rule.others_of_file.get(file, frozenset()):
        return None
    if package in {*RULES, "tests"}:
        allowed = ", ".join(sorted(rule.ours)) or "none of our folders"
        return None if package in rule.ours else f"{folder} may import {allowed}"
    if package in rule.not_even:
        return f"{folder} sees no files and databases"
    if package in sys.stdlib_module_names:
        return None
    if package in rule.others_when_called:
        return f"{folder} imports it inside functions only" if at_import else None
    return f"{folder} may not use it at all"


def test_every_import_keeps_its_direction():
    assert offences(ROOT) == []


def test_every_folder_of_the_table_exists():
    assert [folder for folder in RULES if not (ROOT / folder).is_dir()] == []


@pytest.mark.parametrize(
    ("file", "source", "offence"),
    [
        ("features/a.py", "import duckdb", "1 imports duckdb: features may not use it at all"),
        ("features/a.py", "from pathlib import Path", "1 imports pathlib: features sees no files and databases"),
        ("features/a.py", "import pipeline.x", "1 imports pipeline.x: features may import greedylr"),
        ("models/b/c.py", "\nimport polars as pl", "2 imports polars: models may not use it at all"),
        ("models/c.py", "def f():\n    from features import x", "2 imports features: models may import greedylr"),
        ("pipeline/d.py", "from torch import nn", "1 imports torch: pipeline may not use it at all"),
        ("pipeline/d.py", "\nimport_module('models.x')", "2 imports models.x: pipeline may import greedylr"),
        ("flows/e.py", "import torch", "1 imports torch: flows may not use it at all"),
        ("greedylr/f.py", "import torch", "1 imports torch: greedylr imports it inside functions only"),
        ("greedylr/f.py", "if x:\n    import mlflow", "2 imports mlflow: greedylr imports it inside functions only"),
        ("greedylr/f.py", "def f():\n    import polars", "2 imports polars: greedylr may not use it at all"),
        ("greedylr/f.py", "import typer", "1 imports typer: greedylr may not use it at all"),
        ("greedylr/f.py", "import transformers", "1 imports transformers: greedylr may not use it at all"),
        ("greedylr/huggingface.py", "import torch", "1 imports torch: greedylr imports it inside functions only"),
        ("greedylr/f.py", "import flows", "1 imports flows: greedylr may import none of our folders"),
    ],
)
def test_an_offender_is_named(tmp_path, file, source, offence):
    path = tmp_path / file
    path.parent.mkdir(parents=True)
    path.write_text(source)
    assert offences(tmp_path) == [f"{file}:{offence}"]


@pytest.mark.parametrize(
    ("file", "source"),
    [
        ("greedylr/f.py", "def f():\n    import torch\n    from mlflow import tracking"),
        ("greedylr/f.py", "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from torch import Tensor"),
        ("greedylr/command_line.py", "import typer\nfrom rich.table import Table"),
        ("greedylr/huggingface.py", "from transformers import Trainer"),
        ("greedylr/lightning.py", "from lightning.pytorch import Callback"),
        (
            "features/a.py",
            "import polars as pl\nfrom features.names import words\nfrom greedylr import rule\nimport math",
        ),
        ("models/b.py", "import torch\nimport pathlib\nfrom sklearn import linear_model\nfrom . import seeds"),
        ("flows/c.py", "import prefect\nfrom models import comparison\nfrom pipeline.warehouse import Warehouse"),
    ],
)
def test_what_is_allowed_is_not_named(tmp_path, file, source):
    path = tmp_path / file
    path.parent.mkdir(parents=True)
    path.write_text(source)
    assert offences(tmp_path) == []
