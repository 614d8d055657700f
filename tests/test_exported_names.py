import subprocess
import sys
import tomllib
from pathlib import Path
from types import ModuleType

import greedylr

ROOT = Path(greedylr.__file__).parent.parent

LOADED_BY_IMPORT = """
import sys
before = set(sys.modules)
import greedylr
loaded = {name.partition(".")[0] for name in set(sys.modules) - before}
print(*sorted(loaded - set(sys.stdlib_module_names) - {"greedylr"}))
"""


def test_exported_names_are_sorted_and_stand_once() -> None:
    assert greedylr.__all__ == sorted(set(greedylr.__all__))


def test_exported_names_are_complete() -> None:
    public = {
        name for name, value in vars(greedylr).items() if not name.startswith("_") and not isinstance(value, ModuleType)
    }
    assert public == set(greedylr.__all__)


def test_exported_names_are_documented() -> None:
    undocumented = [
        name for name in greedylr.__all__ if name != "CONTROLS" and not (getattr(greedylr, name).__doc__ or "").strip()
    ]
    assert undocumented == []


def test_version_is_that_of_the_package() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert greedylr.__version__ == project["version"]


def test_import_loads_nothing_outside_the_standard_library() -> None:
    process = subprocess.run(
        [sys.executable, "-c", LOADED_BY_IMPORT], cwd=ROOT, capture_output=True, text=True, check=True, timeout=60
    )
    assert process.stdout.strip() == ""


def test_import_needs_nothing_that_is_installed() -> None:
    # Without site there are no installed packages, only the standard library.
    process = subprocess.run(
        [sys.executable, "-S", "-c", "import greedylr; print(len(greedylr.CONTROLS))"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert process.stdout.strip() == "14"
