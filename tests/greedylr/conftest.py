from pathlib import Path

import pytest


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Leave out the runs of Trainer and Lightning where no integration test is wanted: to import them takes 10 s."""
    wanted = config.getoption("markexpr") != "not integration"
    return None if wanted or not collection_path.name.endswith("_runs.py") else True
