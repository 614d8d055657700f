"""Optimizers that come from packages of the extra `baselines`, imported where one is asked for."""

from __future__ import annotations

import importlib
from types import ModuleType


def baseline_package(name: str) -> ModuleType:
    """Return the package of a baseline.

    Raises
    ------
    ValueError
        If it is absent, with the command that installs it.
    """
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name != name:
            raise
        raise ValueError(
            f"this baseline needs the package {name!r}, which is not installed; run pip install --no-deps {name} "
            "(it works with the torch that is here), or leave the baseline out"
        ) from error
