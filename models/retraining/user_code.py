"""Imports a user's workload factory, in a process that does nothing else afterwards.

A training repository nearly always has a `models/` of its own. Everything of ours is loaded before; then our packages
leave `sys.modules` and our checkout leaves `sys.path`, so that the user's names are found and ours are not.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import Any, cast

import greedylr
from models.retraining.errors import WorkloadFailedError
from models.retraining.partial_results import hash_of_files
from models.retraining.seed_training import Factory

OUR_PACKAGES = ("features", "models", "pipeline", "flows")
CHECKOUT = Path(__file__).resolve().parents[2]


def import_factory(factory: str, root: Path) -> Factory:
    """Return the user's factory; from here on no module of ours but `greedylr` can be imported.

    Parameters
    ----------
    factory
        "module:factory" or "path/file.py:factory".
    root
        The user's folder, first on the path from here on.

    Raises
    ------
    WorkloadFailedError
        If there is no such module, file or factory, or another module has its name.
    """
    place, _, name = factory.rpartition(":")
    root = root.resolve()
    _refuse_shadowed_greedylr(root)
    _leave_checkout()
    sys.path.insert(0, str(root))
    module = _import_file(root / place, root) if place.endswith(".py") else _import_module(place, root)
    found = getattr(module, name, None)
    if not callable(found):
        functions = sorted(key for key, value in vars(module).items() if callable(value) and not key.startswith("_"))
        raise WorkloadFailedError(
            f"{place} must define the factory {name!r}, got {', '.join(functions) or 'no function at all'}"
        )
    return cast(Factory, found)


def imported_code(root: Path) -> str:
    """Return a hash of all files below the user's folder that have been imported so far, installed packages apart."""
    root = root.resolve()
    named = (getattr(module, "__file__", None) for module in list(sys.modules.values()))
    # Some modules without a file give a name that is none.
    files = {Path(name).resolve() for name in named if name and Path(name).is_file()}
    own = [file for file in files if file.is_relative_to(root) and "site-packages" not in file.parts]
    return hash_of_files(own, root)


def _leave_checkout() -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] in OUR_PACKAGES]:
        del sys.modules[name]
    sys.path[:] = [entry for entry in sys.path if Path(entry or ".").resolve() != CHECKOUT]
    importlib.invalidate_caches()


def _refuse_shadowed_greedylr(root: Path) -> None:
    ours = Path(str(greedylr.__file__)).resolve().parent
    for shadow in (root / "greedylr", root / "greedylr.py"):
        if shadow.exists() and shadow.resolve() != ours:
            raise WorkloadFailedError(
                f"{shadow} has the name of the library that runs the workload; rename it, or choose another root"
            )


def _import_module(name: str, root: Path) -> ModuleType:
    top = name.partition(".")[0]
    candidates = (root / top, root / f"{top}.py")
    loaded = sys.modules.get(top)
    if loaded is not None and any(path.exists() for path in candidates):
        raise WorkloadFailedError(
            f"the module {top!r} of {root} has the name of one that Python has loaded already "
            f"({_where(loaded)}); rename it, or give the workload as 'path/file.py:factory'"
        )
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        # The module itself is missing; a missing import of its own is the user's, and is shown as such.
        if error.name is not None and (name + ".").startswith(error.name + "."):
            raise WorkloadFailedError(f"no module {name!r} was found in {root}; check its name, or the root") from error
        raise


def _import_file(path: Path, root: Path) -> ModuleType:
    if not path.is_file():
        raise WorkloadFailedError(f"no file {path} was found; the path is taken from the root {root}")
    if path.parent != root:
        # As `python path/file.py` would have it, after the root.
        sys.path.insert(1, str(path.parent))
    name = path.stem if path.stem.isidentifier() and path.stem not in sys.modules else f"workload_{abs(hash(path))}"
    spec: Any = importlib.util.spec_from_file_location(name, path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def _where(module: ModuleType) -> str:
    return getattr(module, "__file__", None) or "built in"
