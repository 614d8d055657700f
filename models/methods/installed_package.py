"""Optimizers that come from packages of the extra `baselines`, imported where one is asked for."""

from __future__ import annotations

import importlib
from collections.abc import Iterable
from types import ModuleType

from models.retraining.methods import PACKAGES, Method


def require_packages(methods: Iterable[Method]) -> None:
    """Raise ValueError where the package of a method is absent: before anything is trained that then waits for it."""
    for method in methods:
        if method in PACKAGES:
            baseline_package(method)


def baseline_package(method: Method) -> ModuleType:
    """Return the package of one of the `ONE_BY_ONE`.

    Raises
    ------
    ValueError
        If it is absent, with the command that installs it.
    """
    name = PACKAGES[method]
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name != name:
            raise
        raise ValueError(
            f"{method!r} needs the package {name!r}, which is not installed; run pip install --no-deps {name} "
            "(it works with the torch that is here), or leave the baseline out"
        ) from error
