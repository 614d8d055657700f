"""The demo: a history trained for real and logged the way teams do, then the whole road on it."""

from __future__ import annotations

from pathlib import Path

from flows.demo_history import FULL, QUICK, make_history
from flows.progress import Report
from flows.refresh import GroupOutcome, refresh
from flows.road import Road
from pipeline.settings import load_settings

CONFIG = """\
# Written by `greedylr demo`. Relative paths are relative to this file.
warehouse = "greedylr.duckdb"
sources = ["sqlite:///mlflow.db"]
registry_uri = "sqlite:///registry.db"

[groups."mnist-mlp-sgd"]
workload = "reference:mnist-mlp"

[groups."digits-nmf-sgd"]
workload = "reference:digits-nmf"

[budget]
max_seeds = {max_seeds}

[promotion]
mode = "auto"
"""


def run_demo(folder: Path, *, quick: bool, report: Report) -> tuple[list[GroupOutcome], Road]:
    """Train and log the demo's history unless it is there, and take its groups down the road.

    Parameters
    ----------
    folder
        Of the store, the settings, the warehouse and the registry; made.
    quick
        Fewer runs, and one look at five seeds.
    report
        Where progress goes.
    """
    folder.mkdir(parents=True, exist_ok=True)
    config = folder / "greedylr.toml"
    config.write_text(CONFIG.format(max_seeds=5 if quick else 20), encoding="utf-8")
    road = Road(settings=load_settings(config), root=folder, report=report)
    make_history(road, folder / "mlflow.db", QUICK if quick else FULL)
    return refresh(road), road
