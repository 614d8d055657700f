"""The digits, loaded once for all tests of this folder."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from pipeline.datasets import prepare


@pytest.fixture(scope="session")
def digits_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return prepare("mnist_digits", tmp_path_factory.mktemp("data_sets"))


@pytest.fixture(scope="session")
def digits(digits_file: Path) -> Mapping[str, NDArray[Any]]:
    with np.load(digits_file, allow_pickle=False) as file:
        return dict(file)


@pytest.fixture(autouse=True, scope="session")
def one_thread() -> None:
    # Threads that wait for a core that another process has make small programs many times slower.
    torch.set_num_threads(1)
