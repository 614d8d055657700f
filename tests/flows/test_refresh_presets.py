"""The Prefect flow around the road, against a real Prefect server that the harness starts."""

import logging
from pathlib import Path

import pytest

from flows.refresh import GroupOutcome

CONFIG = """\
warehouse = "warehouse.duckdb"
sources = ["sqlite:///{store}"]
registry_uri = "sqlite:///registry.db"

[groups."demo-sgd"]
workload = "broken:workload"
"""

pytestmark = pytest.mark.integration


@pytest.fixture
def prefect(tmp_path, monkeypatch):
    monkeypatch.setenv("PREFECT_HOME", str(tmp_path / "prefect"))
    monkeypatch.setenv("PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS", "180")
    from prefect.testing.utilities import prefect_test_harness

    with prefect_test_harness(server_startup_timeout=180):
        yield
    logging.shutdown()


def test_a_nightly_refresh_learns_but_leaves_a_users_workload_alone_and_a_budget_lets_it_be_proved(
    prefect, mlflow_store, log_run, tmp_path: Path
):
    from flows.refresh_presets import refresh_presets

    for number in range(8):
        log_run(
            "demo",
            params={"optimizer": "sgd", "learning_rate": 0.1 * 2 ** (number % 4)},
            metrics={"train_loss": [2.0 / (1 + step) + 0.01 * number for step in range(20)]},
        )
    log_run("short", params={"optimizer": "sgd"}, metrics={"train_loss": [1.0 / (1 + step) for step in range(20)]})
    (tmp_path / "broken.py").write_text("import nowhere\n")
    config = tmp_path / "greedylr.toml"
    config.write_text(CONFIG.format(store=mlflow_store), encoding="utf-8")

    night = refresh_presets(str(config))

    assert [(outcome.group, outcome.status) for outcome in night] == [
        ("demo-sgd", "waiting"),
        ("short-sgd", "too few runs"),
    ]
    assert all(isinstance(outcome, GroupOutcome) for outcome in night)
    with pytest.raises(RuntimeError, match=r"group demo-sgd failed: .*broken"):
        refresh_presets(str(config), device_hours=1.0)


def test_the_deployment_file_names_the_flow_and_spends_nothing_on_users_workloads():
    import yaml

    deployment = yaml.safe_load(Path("prefect.yaml").read_text(encoding="utf-8"))["deployments"][0]

    assert deployment["entrypoint"] == "flows/refresh_presets.py:refresh_presets"
    assert deployment["parameters"] == {"config": "greedylr.toml", "device_hours": None}
    assert deployment["schedules"][0]["cron"] == "0 2 * * *"
